#version 300 es
precision highp float;

uniform sampler2D uImage;
uniform vec3 uBackground;
out vec4 color;

void main() {
  vec4 image = texelFetch(uImage, ivec2(gl_FragCoord.xy), 0);
  color = vec4(image.rgb + (1.0 - image.a) * uBackground, 1.0);
}
