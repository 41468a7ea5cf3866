// What the passes of the light volume share. Slots are the axis directions +x -x +y -y +z -z.
const vec3 AXES[6] = vec3[6](vec3(1, 0, 0), vec3(-1, 0, 0), vec3(0, 1, 0), vec3(0, -1, 0), vec3(0, 0, 1), vec3(0, 0, -1));
const int RECORD = 28;            // words a cell: coverage, albedo x 3, then weight and radiance x 3 of each slot
const float FIXED = 65536.0;      // fixed point, so that sums do not depend on their order
uniform ivec3 cells;
int cell_index(ivec3 c) { return (c.z * cells.y + c.y) * cells.x + c.x; }
