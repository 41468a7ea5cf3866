#version 430
layout(local_size_x = 64) in;
layout(std430, binding = 14) writeonly buffer Accumulated { uvec4 accumulated[]; };
uniform int count;
void main() {
    int i = int(gl_GlobalInvocationID.x + gl_GlobalInvocationID.y * gl_NumWorkGroups.x * 64u);
    if (i < count) accumulated[i] = uvec4(0u);
}
