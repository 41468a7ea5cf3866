#version 300 es
// One quad a Gaussian: its mean and covariance projected to the screen (EWA splatting, Zwicker et al. 2001).
precision highp float;
precision highp int;
precision highp sampler2D;
precision highp usampler2D;

uniform sampler2D uMeans;    // mean xyz, opacity
uniform usampler2D uShapes;  // 16-bit log scales and quaternion, two a word (docs/formats.md)
uniform usampler2D uColors;  // uTerms coefficients a Gaussian: the colour, then spherical harmonics
uniform sampler2D uMotion;   // velocity xyz, start
uniform mat3 uRotation;      // world to camera
uniform vec3 uEye;           // camera centre in the world
uniform vec4 uLens;          // fx, fy, cx, cy in pixels
uniform vec2 uSize;          // image size in pixels
uniform vec4 uFrame;         // bounds of x/z (left, right) and y/z (top, bottom) for the Jacobian
uniform float uTime;
uniform int uTerms;
uniform bool uMoving;
uniform bool uPick;          // paint depth in place of colour

in uint aIndex;

out vec2 vSigma;             // offset from the mean along the ellipse axes, in standard deviations
flat out vec4 vColor;        // colour, opacity

const float NEAR = 0.01;
const float BLUR = 0.3;      // variance in square pixels that anti-aliases the smallest Gaussians
const float CUT = 1.0 / 255.0;

ivec2 texel(int index, int width) {
  return ivec2(index % width, index / width);
}

// A unit quaternion (w, x, y, z) stored as its three smaller components; columns are the rotated axes.
mat3 turn(uvec3 stored) {
  vec3 three = (vec3(stored & 0x7fffu) - 16384.0) / 16383.0 * 0.70710678;
  uint largest = (stored.x >> 15) | (stored.y >> 15 << 1);
  float rest = sqrt(max(0.0, 1.0 - dot(three, three)));
  vec4 q = vec4(rest, three);
  if (largest == 1u) q = q.yxzw;
  if (largest == 2u) q = q.yzxw;
  if (largest == 3u) q = q.yzwx;
  vec3 v = q.yzw;
  mat3 cross = mat3(0.0, v.z, -v.y, -v.z, 0.0, v.x, v.y, -v.x, 0.0);
  return mat3(1.0) + 2.0 * (q.x * cross + cross * cross);
}

vec3 stored(int index) {
  return vec3(texelFetch(uColors, texel(index, textureSize(uColors, 0).x), 0).rgb);
}

vec3 coefficient(int index) {
  return (stored(index) - 32896.0) / 256.0;
}

vec3 shade(int index, vec3 d) {
  int at = index * uTerms;
  vec3 sum = (stored(at) - 32768.0) / 512.0;
  float x = d.x, y = d.y, z = d.z, xx = x * x, yy = y * y, zz = z * z;
  if (uTerms > 1) {
    sum += 0.48860251 * (z * coefficient(at + 2) - y * coefficient(at + 1) - x * coefficient(at + 3));
  }
  if (uTerms > 4) {
    sum += 1.09254843 * (x * y * coefficient(at + 4) - y * z * coefficient(at + 5) - x * z * coefficient(at + 7));
    sum += 0.31539157 * (2.0 * zz - xx - yy) * coefficient(at + 6);
    sum += 0.54627422 * (xx - yy) * coefficient(at + 8);
  }
  if (uTerms > 9) {
    sum -= 0.59004359 * y * (3.0 * xx - yy) * coefficient(at + 9);
    sum += 2.89061144 * x * y * z * coefficient(at + 10);
    sum -= 0.45704580 * y * (4.0 * zz - xx - yy) * coefficient(at + 11);
    sum += 0.37317633 * z * (2.0 * zz - 3.0 * (xx + yy)) * coefficient(at + 12);
    sum -= 0.45704580 * x * (4.0 * zz - xx - yy) * coefficient(at + 13);
    sum += 1.44530572 * z * (xx - yy) * coefficient(at + 14);
    sum -= 0.59004359 * x * (xx - 3.0 * yy) * coefficient(at + 15);
  }
  return max(sum, 0.0);
}

void main() {
  gl_Position = vec4(0.0, 0.0, 2.0, 1.0);  // outside the clip volume until proven visible
  int index = int(aIndex);
  ivec2 at = texel(index, textureSize(uMeans, 0).x);
  vec4 mean = texelFetch(uMeans, at, 0);
  if (uMoving) {
    vec4 motion = texelFetch(uMotion, at, 0);
    mean.xyz += motion.xyz * max(uTime - motion.w, 0.0);
  }
  vec3 ray = mean.xyz - uEye;
  vec3 p = uRotation * ray;
  if (p.z < NEAR || mean.w < CUT) return;

  uvec4 shape = texelFetch(uShapes, at, 0);
  vec3 scale = exp((vec3(shape.x & 65535u, shape.x >> 16, shape.y & 65535u) - 32768.0) / 128.0);
  mat3 axes = uRotation * turn(uvec3(shape.y >> 16, shape.z & 65535u, shape.z >> 16));
  axes = mat3(axes[0] * scale.x, axes[1] * scale.y, axes[2] * scale.z);

  // Rows of the Jacobian of (x, y, z) -> pixels; far outside the image its linearisation is taken at the border.
  vec2 slope = clamp(p.xy / p.z, uFrame.xz, uFrame.yw);
  vec3 across = vec3(uLens.x, 0.0, -uLens.x * slope.x) / p.z;
  vec3 along = vec3(0.0, uLens.y, -uLens.y * slope.y) / p.z;
  vec3 u = across * axes, v = along * axes;
  float a = dot(u, u) + BLUR, b = dot(u, v), c = dot(v, v) + BLUR;

  float middle = 0.5 * (a + c), spread = length(vec2(0.5 * (a - c), b));
  float large = middle + spread, small = max(middle - spread, 0.1 * BLUR);
  float angle = spread > 1e-6 * middle ? 0.5 * atan(2.0 * b, a - c) : 0.0;
  vec2 axis = vec2(cos(angle), sin(angle));

  float reach = sqrt(2.0 * log(mean.w / CUT));  // where opacity * exp(-reach^2 / 2) falls to the cut
  vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1) * 2.0 - 1.0;
  vSigma = corner * reach;
  vec2 offset = vSigma.x * sqrt(large) * axis + vSigma.y * sqrt(small) * vec2(-axis.y, axis.x);
  vec2 center = uLens.zw + uLens.xy * p.xy / p.z;
  vec2 clip = (center + offset) / uSize * 2.0 - 1.0;
  gl_Position = vec4(clip.x, -clip.y, 0.0, 1.0);
  vColor = vec4(uPick ? vec3(p.z, 0.0, 0.0) : shade(index, normalize(ray)), mean.w);
}
