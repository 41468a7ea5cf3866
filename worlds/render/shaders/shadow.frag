#version 430
#ifdef MASKED
#include "scene.glsl"
uniform int first_face;
in vec2 texture_uv;
#endif
void main() {
#ifdef MASKED
    int layer = materials[faces[first_face + gl_PrimitiveID].w & 0xffffu].layers.x;
    if (layer >= 0 && texture(surface_textures, vec3(texture_uv, float(layer))).a < 0.5) discard;
#endif
}
