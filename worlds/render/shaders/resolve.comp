#version 430
// Sums to radiance leaving each cell in each direction: direct light plus what the last bounce brought.
layout(local_size_x = 4, local_size_y = 4, local_size_z = 4) in;
#include "volume.glsl"
layout(std430, binding = 14) readonly buffer Accumulated { uint accumulated[]; };
layout(rgba16f, binding = 0) writeonly uniform image3D radiance;
layout(binding = 7) uniform sampler3D irradiance_volume;
uniform int bounce;
void main() {
    ivec3 cell = ivec3(gl_GlobalInvocationID);
    if (any(greaterThanEqual(cell, cells))) return;
    int at = cell_index(cell) * RECORD;
    float covered = float(accumulated[at]) / FIXED, alpha = min(1.4 * covered, 1.0);
    vec3 albedo = vec3(accumulated[at + 1], accumulated[at + 2], accumulated[at + 3]) / FIXED / max(covered, 1e-6);
    vec3 leaving[6], rest = vec3(0.0);
    float weights[6], total = 0.0;
    for (int k = 0; k < 6; ++k) {
        int slot = at + 4 + 4 * k;
        weights[k] = float(accumulated[slot]) / FIXED;
        leaving[k] = vec3(accumulated[slot + 1], accumulated[slot + 2], accumulated[slot + 3]) / FIXED / max(weights[k], 1e-6);
        if (bounce > 0) {
            vec4 light = texelFetch(irradiance_volume, cell + ivec3(0, 0, k * cells.z), 0);
            leaving[k] += albedo * light.rgb / max(light.a, 1e-3);
        }
        float w = weights[k] * (dot(leaving[k], vec3(0.3, 0.6, 0.1)) + 1e-4);
        rest += w * leaving[k];
        total += w;
    }
    rest /= max(total, 1e-9);
    for (int k = 0; k < 6; ++k) {                     // a direction that no surface faces takes the brighter others
        vec3 c = mix(rest, leaving[k], min(weights[k] / max(0.1 * covered, 1e-6), 1.0));
        imageStore(radiance, cell + ivec3(0, 0, k * cells.z), vec4(c * alpha, alpha));
    }
}
