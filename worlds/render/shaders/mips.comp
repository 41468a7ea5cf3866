#version 430
// One mip level of a texture array from the level above: linear light, weighted by alpha.
layout(local_size_x = 8, local_size_y = 8) in;
layout(rgba8, binding = 0) readonly uniform image2DArray fine;
layout(rgba8, binding = 1) writeonly uniform image2DArray coarse;
uniform int first_layer;
void main() {
    ivec3 at = ivec3(gl_GlobalInvocationID) + ivec3(0, 0, first_layer);
    ivec2 size = imageSize(coarse).xy;
    if (any(greaterThanEqual(at.xy, size))) return;
    vec4 sum = vec4(0.0);
    float weight = 0.0;
    for (int k = 0; k < 4; ++k) {
        vec4 c = imageLoad(fine, ivec3(at.xy * 2 + ivec2(k & 1, k >> 1), at.z));
        float w = max(c.a, 0.01);
        sum += vec4(pow(c.rgb, vec3(2.2)) * w, c.a);
        weight += w;
    }
    imageStore(coarse, at, vec4(pow(sum.rgb / weight, vec3(1.0 / 2.2)), sum.a * 0.25));
}
