#version 430
// Light arriving at a cell's surfaces that face one axis: cones over the hemisphere through the radiance volume.
layout(local_size_x = 64) in;
#include "scene.glsl"
#include "light.glsl"
#include "volume.glsl"
layout(std430, binding = 15) readonly buffer Items { uint item_count; uint items[]; };
layout(rgba16f, binding = 0) writeonly uniform image3D irradiance_out;
layout(binding = 10) uniform sampler3D radiance_volume;
uniform int count;
uniform float sky_cone_lod;

vec3 cone(vec3 start, vec3 d) {
    vec3 w = d * d, light = vec3(0.0);
    float open = 1.0, t = 0.4, top = float(volume_levels - 1);
    for (int step = 0; step < 200 && open > 0.02; ++step) {
        vec3 c = start + d * t;
        if (any(lessThan(c, vec3(0.0))) || any(greaterThan(c, volume_cells))) break;
        float lod = clamp(log2(2.0 * CONE_TANGENT * t), 0.0, top);
        vec4 v = w.x * volume_slab(radiance_volume, c, d.x > 0.0 ? 1 : 0, lod)
               + w.y * volume_slab(radiance_volume, c, d.y > 0.0 ? 3 : 2, lod)
               + w.z * volume_slab(radiance_volume, c, d.z > 0.0 ? 5 : 4, lod);
        light += open * v.rgb;
        open *= 1.0 - v.a;
        t += 0.8 * exp2(lod);
    }
    return light + open * sky_light * sky(d, sky_cone_lod);
}

void main() {
    int i = int(gl_GlobalInvocationID.x + gl_GlobalInvocationID.y * gl_NumWorkGroups.x * 64u);
    if (i >= count) return;
    int slot = int(items[i] & 7u), index = int(items[i] >> 3);
    ivec3 cell = ivec3(index % cells.x, (index / cells.x) % cells.y, index / (cells.x * cells.y));
    vec3 axis = AXES[slot], side = AXES[(slot + 2) % 6], other = cross(axis, side), sum = vec3(0.0);
    for (int k = 0; k < CONES; ++k) {                 // a spiral, equal weights under the cosine law
        float u = (float(k) + 0.5) / float(CONES), radius = 0.96 * sqrt(u), turn = float(k) * 2.3999632;
        vec3 d = axis * sqrt(1.0 - radius * radius) + radius * (side * cos(turn) + other * sin(turn));
        sum += cone(vec3(cell) + 0.5 + axis, d);
    }
    // A start inside of something sees nothing: such cells count little when neighbours are interpolated.
    float open = max(1.0 - volume_slab(radiance_volume, vec3(cell) + 0.5 + axis, slot, 0.0).a, 0.08);
    vec3 light = min(sum / float(CONES), vec3(500.0));
    imageStore(irradiance_out, cell + ivec3(0, 0, slot * cells.z), vec4(light * open, open));
}
