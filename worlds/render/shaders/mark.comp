#version 430
// Lists the (cell, direction) pairs that shading can ask for: at or before a surface facing that way. Empties the rest.
layout(local_size_x = 4, local_size_y = 4, local_size_z = 4) in;
#include "volume.glsl"
layout(std430, binding = 14) readonly buffer Accumulated { uint accumulated[]; };
layout(std430, binding = 15) buffer Items { uint item_count; uint items[]; };
layout(rgba16f, binding = 0) writeonly uniform image3D irradiance;
uniform int lattice;              // also every lattice-th cell of free space, for what moves through it
void main() {
    ivec3 cell = ivec3(gl_GlobalInvocationID);
    if (any(greaterThanEqual(cell, cells))) return;
    uint wanted = 0u;
    if (lattice > 0 && all(equal(cell % lattice, ivec3(lattice / 2)))) wanted = 63u;
    for (int z = -1; z <= 1; ++z)
        for (int y = -1; y <= 1; ++y)
            for (int x = -1; x <= 1; ++x) {
                ivec3 o = ivec3(x, y, z), c = cell + o;
                if (any(lessThan(c, ivec3(0))) || any(greaterThanEqual(c, cells))) continue;
                int at = cell_index(c) * RECORD;
                if (accumulated[at] == 0u) continue;
                for (int k = 0; k < 6; ++k)
                    if (dot(AXES[k], vec3(o)) <= 0.0 && accumulated[at + 4 + 4 * k] != 0u) wanted |= 1u << k;
            }
    for (int k = 0; k < 6; ++k) {
        imageStore(irradiance, cell + ivec3(0, 0, k * cells.z), vec4(0.0));
        if ((wanted & (1u << k)) != 0u) {
            items[atomicAdd(item_count, 1u)] = uint(cell_index(cell)) * 8u + uint(k);
        }
    }
}
