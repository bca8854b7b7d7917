// Workgroups counted over two dimensions, since one holds 65,535 of them at most.
//
// Needs: nothing.
// Gives: group_index.
fn group_index(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}
