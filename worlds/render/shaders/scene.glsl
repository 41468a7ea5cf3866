// The scene as every shader sees it: vertices, faces and materials in storage buffers (see geometry.py).
layout(std430, binding = 0) readonly buffer Vertices { uvec4 vertices[]; };   // 2 per vertex
layout(std430, binding = 1) readonly buffer Faces { uvec4 faces[]; };         // 3 vertices, object << 16 | material
struct Material { vec4 colour_emission; ivec4 layers; };                      // texture, lightmap, alpha mask
layout(std430, binding = 2) readonly buffer Materials { Material materials[]; };

layout(binding = 0) uniform sampler2DArray surface_textures;
layout(binding = 1) uniform sampler2DArray lightmaps;

vec3 decode_normal(uint bits) {                       // octahedral, two signed 16-bit numbers
    vec2 e = unpackSnorm2x16(bits);
    vec3 n = vec3(e, 1.0 - abs(e.x) - abs(e.y));
    float t = max(-n.z, 0.0);
    n.xy -= vec2(n.x >= 0.0 ? t : -t, n.y >= 0.0 ? t : -t);
    return normalize(n);
}
vec3 vertex_position(uint i) { return uintBitsToFloat(vertices[2u * i].xyz); }
vec3 vertex_normal(uint i) { return decode_normal(vertices[2u * i].w); }
vec4 vertex_uvs(uint i) { return uintBitsToFloat(vertices[2u * i + 1u]); }

vec3 srgb_to_linear(vec3 c) {
    return mix(c / 12.92, pow((c + 0.055) / 1.055, vec3(2.4)), greaterThan(c, vec3(0.04045)));
}
vec3 linear_to_srgb(vec3 c) {
    return mix(c * 12.92, 1.055 * pow(max(c, 1e-6), vec3(1.0 / 2.4)) - 0.055, greaterThan(c, vec3(0.0031308)));
}
