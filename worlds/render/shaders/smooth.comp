#version 430
// Evens out the cones' noise: each baked cell takes a weighted mean of its neighbours in the plane that it faces.
layout(local_size_x = 4, local_size_y = 4, local_size_z = 4) in;
#include "volume.glsl"
layout(binding = 7) uniform sampler3D irradiance_volume;
layout(rgba16f, binding = 0) writeonly uniform image3D smoothed;
void main() {
    ivec3 cell = ivec3(gl_GlobalInvocationID);
    if (any(greaterThanEqual(cell, cells))) return;
    for (int k = 0; k < 6; ++k) {
        ivec3 base = ivec3(0, 0, k * cells.z);
        vec4 sum = texelFetch(irradiance_volume, cell + base, 0) * 4.0;
        if (sum.a > 0.0) {
            float weight = 4.0;
            for (int i = 0; i < 9; ++i) {
                ivec2 o = ivec2(i % 3, i / 3) - 1;
                ivec3 near = cell;
                near[(k / 2 + 1) % 3] += o.x;
                near[(k / 2 + 2) % 3] += o.y;
                if (o == ivec2(0) || any(lessThan(near, ivec3(0))) || any(greaterThanEqual(near, cells))) continue;
                vec4 v = texelFetch(irradiance_volume, near + base, 0);
                float w = o.x * o.y == 0 ? 2.0 : 1.0;
                sum += w * v;
                weight += v.a > 0.0 ? w : 0.0;
            }
            sum /= weight;
        }
        imageStore(smoothed, cell + base, sum);
    }
}
