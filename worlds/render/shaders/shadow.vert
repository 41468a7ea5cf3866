#version 430
in vec3 position;
in vec2 uv;
uniform mat4 light_matrix;
out vec2 texture_uv;
void main() { gl_Position = light_matrix * vec4(position, 1.0); texture_uv = uv; }
