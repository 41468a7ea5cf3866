#version 430
// Camera space by camera-relative positions (keeps float32 exact far from the origin), image row 0 first.
in vec3 position;
in vec2 uv;
uniform mat3 world_to_camera;
uniform vec3 camera;
uniform mat3 pinhole;             // K scaled to the target's pixels
uniform vec2 target;              // its width, height
uniform vec2 depth_range;
out vec2 texture_uv;
void main() {
    vec3 p = world_to_camera * (position - camera);
    vec3 image = pinhole * p;
    float n = depth_range.x, f = depth_range.y;
    gl_Position = vec4(2.0 * image.xy / target - p.z, ((f + n) * p.z - 2.0 * f * n) / (f - n), p.z);
    texture_uv = uv;
}
