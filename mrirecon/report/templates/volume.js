// A volume of the viewer: its values by voxel, and where voxels lie in the patient.
class Volume {
  static async of(about, script) {
    const volume = new Volume();
    Object.assign(volume, JSON.parse(about.textContent));
    const [nx, ny, nz] = volume.shape;
    volume.strides = [1, nx, nx * ny];
    volume.frameSize = nx * ny * nz;
    volume.steps = await unpack(script);
    volume.scale = (volume.high - volume.low) / 65535;
    if (volume.affine) { // rows of the file become columns
      const [a, b, c] = volume.affine;
      volume.toPatient = new DOMMatrix([0, 1, 2, 3].flatMap((n) => [a[n], b[n], c[n], n === 3 ? 1 : 0]));
    }
    return volume;
  }

  get frames() { return this.shape[3]; }
  get middle() { return this.shape.slice(0, 3).map((n) => Math.floor(n / 2)); }

  offset(place, frame) {
    return place.reduce((sum, p, axis) => sum + p * this.strides[axis], Math.min(frame, this.frames - 1) * this.frameSize);
  }

  at(place, frame) { return this.low + this.scale * this.steps[this.offset(place, frame)]; }

  // Patient coordinates (RAS, mm) of a voxel.
  position([x, y, z]) {
    const point = this.toPatient.transformPoint({ x, y, z });
    return [point.x, point.y, point.z];
  }

  // Value by pixel of a slice, rows and columns as on the screen.
  pixels(plane, place, frame) {
    const start = [...place];
    let right = this.strides[plane.right], down = this.strides[plane.down];
    start[plane.right] = plane.flip_right ? this.shape[plane.right] - 1 : 0;
    start[plane.down] = plane.flip_down ? this.shape[plane.down] - 1 : 0;
    if (plane.flip_right) right = -right;
    if (plane.flip_down) down = -down;
    const first = this.offset(start, frame), columns = this.shape[plane.right];
    return (n) => this.low + this.scale * this.steps[first + Math.floor(n / columns) * down + n % columns * right];
  }

  inside(place) { return place.map((p, axis) => clamp(Math.round(p), 0, this.shape[axis] - 1)); }

  // How places of this volume and of another are told from each other.
  linkTo(other) {
    if (this.toPatient && other.toPatient) return "by the place in the patient";
    return String(this.shape.slice(0, 3)) === String(other.shape.slice(0, 3)) ? "by voxel" : "by the share of each axis";
  }

  // The voxel here that a voxel of another volume lies in, or nearest to.
  placeOf(other, place) {
    if (other === this) return place;
    const link = this.linkTo(other);
    if (link === "by voxel") return place;
    if (link !== "by the place in the patient")
      return this.inside(place.map((p, axis) => (p + 0.5) / other.shape[axis] * this.shape[axis] - 0.5));
    const [x, y, z] = other.position(place), point = this.toPatient.inverse().transformPoint({ x, y, z });
    return this.inside([point.x, point.y, point.z]);
  }
}
