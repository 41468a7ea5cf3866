#version 430
// Movers to world space: pose blend, transform, and the velocity between two instants around the frame's time.
layout(local_size_x = 64) in;
layout(std430, binding = 0) buffer Vertices { uvec4 vertices[]; };
layout(std430, binding = 9) writeonly buffer Velocities { vec4 velocities[]; };
layout(std430, binding = 10) readonly buffer Rest { uvec4 rest[]; };      // position, normal of each pose's vertex
layout(std430, binding = 11) readonly buffer Owner { uint owner[]; };     // mover of a vertex
struct Mover { mat4 now, before, after; ivec4 counts; vec4 pose; };   // counts; poses at three times, interval s
layout(std430, binding = 12) readonly buffer Movers { Mover movers[]; };
uniform int count;
uniform int first_mover_vertex;

vec3 decode_normal(uint bits) {
    vec2 e = unpackSnorm2x16(bits);
    vec3 n = vec3(e, 1.0 - abs(e.x) - abs(e.y));
    float t = max(-n.z, 0.0);
    n.xy -= vec2(n.x >= 0.0 ? t : -t, n.y >= 0.0 ? t : -t);
    return normalize(n);
}
uint encode_normal(vec3 n) {
    n /= abs(n.x) + abs(n.y) + abs(n.z);
    vec2 e = n.z >= 0.0 ? n.xy : (1.0 - abs(n.yx)) * vec2(n.x >= 0.0 ? 1.0 : -1.0, n.y >= 0.0 ? 1.0 : -1.0);
    return packSnorm2x16(e);
}
vec3 posed(Mover m, int v, float pose) {              // counts: first rest vertex, vertices, poses
    int a = int(pose) % m.counts.z, b = (a + 1) % m.counts.z;
    int at = m.counts.x + v;
    return mix(uintBitsToFloat(rest[at + a * m.counts.y].xyz), uintBitsToFloat(rest[at + b * m.counts.y].xyz), fract(pose));
}
void main() {
    int i = int(gl_GlobalInvocationID.x);
    if (i >= count) return;
    Mover m = movers[owner[i]];
    int v = i - m.counts.w;
    int a = int(m.pose.x) % m.counts.z, b = (a + 1) % m.counts.z;
    vec3 n = mix(decode_normal(rest[m.counts.x + v + a * m.counts.y].w),
                 decode_normal(rest[m.counts.x + v + b * m.counts.y].w), fract(m.pose.x));
    vec3 world = (m.now * vec4(posed(m, v, m.pose.x), 1.0)).xyz;
    vec3 from = (m.before * vec4(posed(m, v, m.pose.y), 1.0)).xyz, to = (m.after * vec4(posed(m, v, m.pose.z), 1.0)).xyz;
    vec3 normal = normalize(transpose(inverse(mat3(m.now))) * n + vec3(0.0, 1e-9, 0.0));
    vertices[2u * uint(first_mover_vertex + i)] = uvec4(floatBitsToUint(world), encode_normal(normal));
    velocities[i] = vec4((to - from) / m.pose.w, 0.0);
}
