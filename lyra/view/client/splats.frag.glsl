#version 300 es
precision highp float;

in vec2 vSigma;
flat in vec4 vColor;
out vec4 color;

void main() {
  float alpha = min(0.999, vColor.a * exp(-0.5 * dot(vSigma, vSigma)));
  if (alpha < 1.0 / 255.0) discard;
  color = vec4(vColor.rgb * alpha, alpha);
}
