#version 430
// One thread a surface sample: its direct light on both sides, added to the cell it lies in.
layout(local_size_x = 64) in;
#include "scene.glsl"
#include "light.glsl"
#include "volume.glsl"
layout(std430, binding = 13) readonly buffer Samples { uvec2 samples[]; };    // face, area in cell faces
layout(std430, binding = 14) buffer Accumulated { uint accumulated[]; };
uniform int count;

void add(int slot, float value) { atomicAdd(accumulated[slot], uint(clamp(value, 0.0, 512.0) * FIXED + 0.5)); }

void main() {
    int i = int(gl_GlobalInvocationID.x);
    if (i >= count) return;
    uvec4 face = faces[samples[i].x];
    float area = uintBitsToFloat(samples[i].y);
    vec2 r = fract(vec2(0.5) + float(i & 0xffff) * vec2(0.7548777, 0.5698403));
    if (r.x + r.y > 1.0) r = 1.0 - r;
    vec3 b = vec3(1.0 - r.x - r.y, r);
    vec3 p0 = vertex_position(face.x), e1 = vertex_position(face.y) - p0, e2 = vertex_position(face.z) - p0;
    vec3 p = p0 + e1 * r.x + e2 * r.y, n = cross(e1, e2);
    n /= max(length(n), 1e-20);
    ivec3 cell = ivec3(floor((p - volume_origin) / voxel));
    if (any(lessThan(cell, ivec3(0))) || any(greaterThanEqual(cell, cells))) return;

    Material m = materials[face.w & 0xffffu];
    vec4 uv = mat3x4(vertex_uvs(face.x), vertex_uvs(face.y), vertex_uvs(face.z)) * b;
    vec3 albedo = m.colour_emission.rgb;
    if (m.layers.x >= 0) {
        vec4 texel = textureLod(surface_textures, vec3(uv.xy, float(m.layers.x)), 3.0);
        albedo *= srgb_to_linear(texel.rgb);
        if (m.layers.z != 0) area *= texel.a;
    }
    albedo = min(albedo, vec3(0.95));
    vec3 glow = albedo * m.colour_emission.a, light[2];
    bool baked = m.layers.y >= 0;
    if (baked) {
        light[0] = light[1] = albedo * pow(textureLod(lightmaps, vec3(uv.zw, float(m.layers.y)), 0.0).rgb, vec3(1.45)) * 3.0;
    } else {
        light[0] = albedo * direct_light(p, n);
        light[1] = albedo * direct_light(p, -n);
    }
    int at = cell_index(cell) * RECORD;
    add(at, area);
    for (int k = 0; k < 3; ++k) add(at + 1 + k, baked ? 0.0 : area * albedo[k]);
    for (int side = 0; side < 2; ++side) {
        vec3 facing = side == 0 ? n : -n, total = min(light[side] + glow, vec3(60.0));
        for (int axis = 0; axis < 3; ++axis) {
            float w = area * facing[axis] * facing[axis];
            if (w < 0.01 * area) continue;
            int slot = at + 4 + 4 * (2 * axis + (facing[axis] < 0.0 ? 1 : 0));
            add(slot, w);
            for (int k = 0; k < 3; ++k) add(slot + 1 + k, w * total[k]);
        }
    }
}
