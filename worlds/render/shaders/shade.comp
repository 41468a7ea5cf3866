#version 430
// One thread a pixel: shade every different face among the pixel's samples once, weighted by its coverage.
layout(local_size_x = 8, local_size_y = 8) in;
#include "scene.glsl"
#include "light.glsl"
layout(binding = 8) uniform usampler2D seen;          // SAMPLES x SAMPLES faces a pixel
layout(binding = 9) uniform usampler2D seen_centre;   // the face at the pixel centre
layout(std430, binding = 4) writeonly buffer Rgb { uint rgb_words[]; };
layout(std430, binding = 5) writeonly buffer Depth { float depths[]; };
layout(std430, binding = 6) writeonly buffer Ids { int ids[]; };
layout(std430, binding = 7) writeonly buffer Normals { float normals[]; };
layout(std430, binding = 8) writeonly buffer Motion { float motions[]; };
layout(std430, binding = 9) readonly buffer Velocities { vec4 velocities[]; };
uniform mat3 camera_to_world;
uniform vec3 camera;
uniform mat3 unproject;           // inverse K
uniform ivec2 size;               // width, height
uniform int frame;                // slot in the output buffers
uniform int words_per_row;
uniform float exposure;
uniform float sky_gain;
uniform float sky_lod;
uniform int first_mover_vertex;
uniform ivec2 extras;             // write normals, motion
shared uint packed_rgb[8][8];

struct Hit { uvec4 face; vec3 b, gx, gy, p; };

Hit hit(uint id, vec3 d, vec3 dx, vec3 dy) {          // perspective-correct barycentrics and their pixel gradients
    Hit h;
    h.face = faces[id - 1u];
    vec3 p0 = vertex_position(h.face.x) - camera, p1 = vertex_position(h.face.y) - camera;
    vec3 p2 = vertex_position(h.face.z) - camera;
    mat3 c = mat3(cross(p1, p2), cross(p2, p0), cross(p0, p1));
    vec3 n = d * c, nx = (d + dx) * c, ny = (d + dy) * c;
    float s = n.x + n.y + n.z;
    if (s < 0.0) { n = -n; nx = -nx; ny = -ny; s = -s; }
    vec3 inside = max(n, vec3(0.0));
    h.b = inside / max(inside.x + inside.y + inside.z, 1e-30);
    vec3 b = n / max(s, 1e-30);
    h.gx = nx / max(abs(nx.x + nx.y + nx.z), 1e-30) - b;
    h.gy = ny / max(abs(ny.x + ny.y + ny.z), 1e-30) - b;
    h.p = mat3(p0, p1, p2) * h.b;
    return h;
}

vec3 facing_normal(Hit h, out vec3 geometric) {       // the shading normal on the side that the camera sees
    vec3 p0 = vertex_position(h.face.x);
    geometric = cross(vertex_position(h.face.y) - p0, vertex_position(h.face.z) - p0);
    geometric /= max(length(geometric), 1e-20);
    if (dot(geometric, h.p) > 0.0) geometric = -geometric;
    vec3 n = mat3(vertex_normal(h.face.x), vertex_normal(h.face.y), vertex_normal(h.face.z)) * h.b;
    n /= max(length(n), 1e-6);
    return dot(n, geometric) < 0.0 ? -n : n;
}

vec3 shade(Hit h) {
    Material m = materials[h.face.w & 0xffffu];
    mat3x4 uvs = mat3x4(vertex_uvs(h.face.x), vertex_uvs(h.face.y), vertex_uvs(h.face.z));
    vec3 albedo = m.colour_emission.rgb;
    vec4 uv = uvs * h.b;
    if (m.layers.x >= 0) {
        vec2 gx = 0.8 * (uvs * h.gx).xy, gy = 0.8 * (uvs * h.gy).xy;
        albedo *= srgb_to_linear(textureGrad(surface_textures, vec3(uv.xy, float(m.layers.x)), gx, gy).rgb);
    }
    vec3 glow = albedo * m.colour_emission.a, geometric, n = facing_normal(h, geometric), p = camera + h.p;
    if (m.layers.y >= 0) {
        vec3 baked = textureLod(lightmaps, vec3(uv.zw, float(m.layers.y)), 0.0).rgb;
        return glow + albedo * pow(baked, vec3(1.45)) * (MOVERS != 0 ? 3.0 * mover_contact(p, n) : 3.0);
    }
    if (m.layers.z != 0) n = normalize(n + vec3(0.0, 0.9, 0.0));    // leaves pass light on: lit rather from above
    vec3 around = irradiance(p, n);
    if (MOVERS != 0) around *= mover_contact(p, n);
    return glow + albedo * (direct_light(p, n) + around);
}

vec3 tone(vec3 c) {                                   // Narkowicz' fit of the ACES film curve
    c *= exposure;
    return clamp((c * (2.51 * c + 0.03)) / (c * (2.43 * c + 0.59) + 0.14), 0.0, 1.0);
}

void main() {
    ivec2 pixel = ivec2(gl_GlobalInvocationID.xy), local = ivec2(gl_LocalInvocationID.xy);
    bool inside = all(lessThan(pixel, size));
    int index = (frame * size.y + pixel.y) * size.x + pixel.x;
    vec3 colour = vec3(0.0);
    if (inside) {
        vec3 d = camera_to_world * (unproject * vec3(vec2(pixel) + 0.5, 1.0));
        vec3 dx = camera_to_world * unproject[0], dy = camera_to_world * unproject[1];
        const int total = SAMPLES * SAMPLES;
        uint left = (1u << total) - 1u;
        for (int turn = 0; turn < MAX_SHADES && left != 0u; ++turn) {
            int first = (turn == 0 && SAMPLES % 2 == 1) ? total / 2 : findLSB(left);
            uint id = texelFetch(seen, pixel * SAMPLES + ivec2(first % SAMPLES, first / SAMPLES), 0).r;
            uint same = 0u;
            for (int k = 0; k < total; ++k)
                if (texelFetch(seen, pixel * SAMPLES + ivec2(k % SAMPLES, k / SAMPLES), 0).r == id) same |= 1u << k;
            if (turn == MAX_SHADES - 1) same = left;
            vec3 c = id == 0u ? sky(normalize(d), sky_lod) * sky_gain : shade(hit(id, d, dx, dy));
            colour += float(bitCount(same & left)) * min(c, vec3(8.0 / exposure));
            left &= ~same;
        }
        colour /= float(total);
        uint id = texelFetch(seen_centre, pixel * CENTRE_STEP + CENTRE_STEP / 2, 0).r;
        float depth = uintBitsToFloat(0x7f800000u);
        int object = 0;
        vec3 normal = vec3(0.0), velocity = vec3(0.0), geometric;
        if (id != 0u) {
            Hit h = hit(id, d, dx, dy);
            depth = dot(h.p, camera_to_world[2]);
            object = int(h.face.w >> 16);
            if (extras.x != 0) normal = facing_normal(h, geometric);
            int v = int(h.face.x) - first_mover_vertex;
            if (extras.y != 0 && v >= 0)
                velocity = mat3(velocities[v].xyz, velocities[int(h.face.y) - first_mover_vertex].xyz,
                                velocities[int(h.face.z) - first_mover_vertex].xyz) * h.b;
        }
#ifndef METER
        depths[index] = depth;
        ids[index] = object;
        if (extras.x != 0) for (int k = 0; k < 3; ++k) normals[index * 3 + k] = normal[k];
        if (extras.y != 0) for (int k = 0; k < 3; ++k) motions[index * 3 + k] = velocity[k];
#endif
    }
#ifdef METER
    if (inside) for (int k = 0; k < 3; ++k) normals[index * 3 + k] = colour[k];
#else
    uvec3 c = uvec3(linear_to_srgb(tone(colour)) * 255.0 + 0.5);
    packed_rgb[local.y][local.x] = c.x | c.y << 8 | c.z << 16;
    barrier();
    // Four pixels are three words: the first three threads of each four write one word each.
    int lane = local.x & 3, word = (pixel.x >> 2) * 3 + lane;
    if (lane < 3 && word < words_per_row && pixel.y < size.y) {
        uint a = packed_rgb[local.y][local.x], b = packed_rgb[local.y][local.x + 1];
        rgb_words[(frame * size.y + pixel.y) * words_per_row + word] = a >> (8 * lane) | b << (24 - 8 * lane);
    }
#endif
}
