#version 430
// Which face is seen: its number + 1. MASKED faces lose the parts where their texture is transparent.
#ifdef MASKED
#include "scene.glsl"
#endif
in vec2 texture_uv;
uniform int first_face;
layout(location = 0) out uint face;
void main() {
#ifdef MASKED
    int layer = materials[faces[first_face + gl_PrimitiveID].w & 0xffffu].layers.x;
    vec3 where = vec3(texture_uv, float(max(layer, 0)));
    float alpha = layer < 0 ? 1.0 : texture(surface_textures, where).a;
    // Minified leaves: spread the threshold over the sub-samples, so that coverage stays what the texture says.
    vec2 size = vec2(textureSize(surface_textures, 0).xy);
    float blur = smoothstep(0.5, 2.0, max(length(dFdx(texture_uv) * size), length(dFdy(texture_uv) * size)));
    ivec2 sub = ivec2(gl_FragCoord.xy) % SAMPLES;
    float spread = (float((sub.x + sub.y * SAMPLES) * SPREAD_STEP % (SAMPLES * SAMPLES)) + 0.5) / float(SAMPLES * SAMPLES);
    if (alpha < mix(0.5, spread, blur)) discard;
#endif
    face = uint(first_face + gl_PrimitiveID) + 1u;
}
