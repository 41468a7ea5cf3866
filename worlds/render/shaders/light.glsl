// Direct light (sun, lamps), sky and the baked irradiance. Radiances are divided by pi: a white surface reflects them.
struct Lamp { vec4 position_reach; vec4 intensity; };
layout(std430, binding = 3) readonly buffer Lamps { Lamp lamps[]; };
uniform int lamp_count;
uniform vec3 sun_to;              // unit vector towards the sun
uniform vec3 sun_radiance;        // 0 without a sun
uniform mat4 sun_matrix;          // world -> [0, 1]^3 of the sun's shadow map
uniform mat4 sun_near_matrix;     // the same for the finer map around the cameras
uniform mat4 mover_sun_matrix;
uniform vec2 sun_texel;           // metres a texel of the two maps
uniform vec3 sky_light;           // multiplies the panorama as a light
layout(binding = 2) uniform sampler2DShadow sun_shadow;
layout(binding = 3) uniform sampler2DShadow lamp_shadow;
layout(binding = 4) uniform sampler2DShadow mover_sun_shadow;
layout(binding = 5) uniform sampler2DShadow mover_lamp_shadow;
layout(binding = 6) uniform sampler2D sky_panorama;
layout(binding = 7) uniform sampler3D irradiance_volume;
layout(binding = 11) uniform sampler2DShadow sun_near_shadow;
layout(binding = 12) uniform sampler2DShadow mover_floor_shadow;   // movers seen from below
uniform mat4 mover_floor_matrix;
uniform vec3 volume_origin;
uniform vec3 volume_cells;        // cells along x, y, z of one of the six slabs stacked along z
uniform float voxel;
uniform int volume_levels;

vec3 sky(vec3 d, float lod) {
    vec2 uv = vec2(atan(d.x, -d.z) * 0.15915494, acos(clamp(d.y, -1.0, 1.0)) * 0.31830989);
    return textureLod(sky_panorama, uv, lod).rgb;
}

float soft_lookup(sampler2DShadow map, vec3 p, float radius) {
    vec2 texel = radius / vec2(textureSize(map, 0));
    float lit = 0.0;
    for (int y = -1; y <= 1; ++y)
        for (int x = -1; x <= 1; ++x)
            lit += textureLod(map, vec3(p.xy + vec2(x, y) * texel, p.z), 0.0);
    return lit / 9.0;
}

float sun_visibility(vec3 p, vec3 n) {
    float slope = 1.0 - 0.7 * max(dot(n, sun_to), 0.0);
    vec3 fine = (sun_near_matrix * vec4(p + n * (sun_texel.y * 2.0 * slope), 1.0)).xyz;
    float lit;
    if (all(greaterThan(fine, vec3(0.01))) && all(lessThan(fine, vec3(0.99)))) {
        lit = soft_lookup(sun_near_shadow, fine, 1.3);
    } else {
        vec3 s = (sun_matrix * vec4(p + n * (sun_texel.x * 2.0 * slope), 1.0)).xyz;
        bool inside = all(greaterThan(s, vec3(0.0))) && all(lessThan(s, vec3(1.0)));
        lit = inside ? soft_lookup(sun_shadow, s, 1.3) : 1.0;
    }
    if (MOVERS != 0) {
        vec3 m = (mover_sun_matrix * vec4(p + n * 0.01, 1.0)).xyz;
        if (all(greaterThan(m.xy, vec2(0.0))) && all(lessThan(m.xy, vec2(1.0))))
            lit = min(lit, soft_lookup(mover_sun_shadow, vec3(m.xy, min(m.z, 1.0)), 1.3));
    }
    return lit;
}

// The six faces of lamp i stand side by side in row i of an atlas; each spans slightly more than 90 degrees.

float lamp_lookup(sampler2DShadow atlas, int lamp, vec3 d) {
    vec3 a = abs(d);
    int face; vec2 st; float major;
    if (a.x >= a.y && a.x >= a.z) { face = d.x > 0.0 ? 0 : 1; st = d.yz; major = a.x; }
    else if (a.y >= a.z) { face = d.y > 0.0 ? 2 : 3; st = d.zx; major = a.y; }
    else { face = d.z > 0.0 ? 4 : 5; st = d.xy; major = a.z; }
    float reach = lamps[lamp].position_reach.w;
    float z = reach / (reach - LAMP_NEAR) * (1.0 - LAMP_NEAR / major);
    vec2 uv = (st / major * LAMP_FACE_SCALE * 0.5 + 0.5 + vec2(face, lamp)) / vec2(6.0, LAMP_ROWS);
    vec2 texel = 0.8 / vec2(textureSize(atlas, 0));
    float lit = 0.0;
    for (int k = 0; k < 4; ++k)
        lit += textureLod(atlas, vec3(uv + texel * (vec2(k & 1, k >> 1) * 2.0 - 1.0), z - 1e-5), 0.0);
    return lit * 0.25;
}

vec3 lamp_light(int i, vec3 p, vec3 n) {
    vec3 to = lamps[i].position_reach.xyz - p;
    float reach = lamps[i].position_reach.w;
    float d2 = dot(to, to), d = sqrt(d2), facing = dot(n, to) / max(d, 1e-4);
    if (facing <= 0.0 || d >= reach) return vec3(0.0);
    float edge = 1.0 - pow(d / reach, 4.0);
    float texel = 15.0 / float(textureSize(lamp_shadow, 0).x);      // of a face, at 1 m
    vec3 from = n * (2.2 * texel * d * (1.15 - facing) + 0.003) - to;
    float lit = lamp_lookup(lamp_shadow, i, from);
    if (MOVERS != 0) lit = min(lit, lamp_lookup(mover_lamp_shadow, i, from));
    return lamps[i].intensity.rgb * (lit * facing * edge * edge / max(d2, 0.04));
}

vec3 direct_light(vec3 p, vec3 n) {
    vec3 sum = vec3(0.0);
    float facing = dot(n, sun_to);
    if (facing > 0.0 && sun_radiance != vec3(0.0)) sum += sun_radiance * facing * sun_visibility(p, n);
    for (int i = 0; i < lamp_count; ++i) sum += lamp_light(i, p, n);
    return sum;
}

// Ambient cube: one slab of cells for each axis direction; cells that were not baked, or lie inside
// of something, have little weight (alpha) and are filled from coarser levels.
vec4 volume_slab(sampler3D volume, vec3 cell, int slab, float lod) {
    vec3 half_texel = vec3(0.5 * exp2(ceil(lod)));
    vec3 at = clamp(cell, half_texel, volume_cells - half_texel);
    at.z += float(slab) * volume_cells.z;
    return textureLod(volume, at / vec3(textureSize(volume, 0)), lod);
}

vec3 irradiance(vec3 p, vec3 n) {
    vec3 cell = (p + n * (0.6 * voxel) - volume_origin) / voxel, w = n * n, sum = vec3(0.0);
    if (any(lessThan(cell, vec3(-1.0))) || any(greaterThan(cell, volume_cells + 1.0))) return sky_light * sky(n, 20.0);
    for (int axis = 0; axis < 3; ++axis) {
        int slab = axis * 2 + (n[axis] < 0.0 ? 1 : 0);
        vec3 light = vec3(0.0);
        float known = 0.0;
        for (int l = 0; l < volume_levels && known < 0.99; ++l) {
            vec4 v = volume_slab(irradiance_volume, cell, slab, float(l));
            float share = (1.0 - known) * min(15.0 * v.a, 1.0);
            light += share * v.rgb / max(v.a, 1e-4);
            known += share;
        }
        sum += w[axis] * light / max(known, 1e-3);
    }
    return sum;
}

// Baked light knows nothing of movers: darken what lies closely below one (their lowest point within 8, 30, 90 cm).
float mover_contact(vec3 p, vec3 n) {
    if (n.y <= 0.0) return 1.0;
    const vec3 rises = vec3(0.08, 0.3, 0.9), spreads = vec3(0.06, 0.14, 0.3);
    float dark = 0.0;
    for (int k = 0; k < 4; ++k) {
        vec2 turn = vec2(k & 1, k >> 1) * 2.0 - 1.0;
        for (int i = 0; i < 3; ++i) {
            vec3 side = vec3(turn.x, 0.0, turn.y) * spreads[i];
            vec3 low = (mover_floor_matrix * vec4(p + side - vec3(0.0, 0.02, 0.0), 1.0)).xyz;
            vec3 high = (mover_floor_matrix * vec4(p + side + vec3(0.0, rises[i], 0.0), 1.0)).xyz;
            if (any(lessThan(low.xy, vec2(0.0))) || any(greaterThan(low.xy, vec2(1.0)))) continue;
            dark += textureLod(mover_floor_shadow, vec3(low.xy, clamp(low.z, 0.0, 1.0)), 0.0)
                  - textureLod(mover_floor_shadow, vec3(high.xy, clamp(high.z, 0.0, 1.0)), 0.0);
        }
    }
    return 1.0 - 0.8 * n.y * max(dark, 0.0) / 12.0;
}
