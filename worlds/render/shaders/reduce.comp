#version 430
// One level of a stacked volume from the finer one. Opaque volumes are composited along the slab's axis first, so
// that a wall stays a wall; otherwise cells are averaged by weight.
layout(local_size_x = 4, local_size_y = 4, local_size_z = 4) in;
layout(rgba16f, binding = 0) readonly uniform image3D fine;
layout(rgba16f, binding = 1) writeonly uniform image3D coarse;
uniform ivec3 size;               // coarse cells along x, y and all six slabs
uniform int opaque;
void main() {
    ivec3 at = ivec3(gl_GlobalInvocationID);
    if (any(greaterThanEqual(at, size))) return;
    int depth = size.z / 6, slab = at.z / depth, axis = slab / 2, front = 1 - slab % 2;
    ivec3 base = ivec3(at.xy * 2, slab * depth * 2 + (at.z % depth) * 2);
    vec4 sum = vec4(0.0);
    for (int k = 0; k < 4; ++k) {
        ivec3 a, b;
        a[axis] = front; b[axis] = 1 - front;
        a[(axis + 1) % 3] = b[(axis + 1) % 3] = k & 1;
        a[(axis + 2) % 3] = b[(axis + 2) % 3] = k >> 1;
        vec4 near = imageLoad(fine, base + a), far = imageLoad(fine, base + b);
        sum += opaque != 0 ? near + (1.0 - near.a) * far : 0.5 * (near + far);
    }
    imageStore(coarse, at, sum * 0.25);
}
