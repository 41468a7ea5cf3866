// Draws sorted Gaussians with WebGL2: premultiplied far-to-near blending in display sRGB.

const WIDTH = 4096;  // texels a row of the data textures

class Renderer {
  constructor(canvas) {
    const options = { alpha: false, antialias: false, depth: false, powerPreference: "high-performance" };
    const gl = canvas.getContext("webgl2", options);
    if (!gl) throw new Sentence("This page needs WebGL 2: update the browser or switch on hardware acceleration.");
    this.gl = gl;
    this.canvas = canvas;
    // Half floats keep a hundred blended layers exact; without them (rare) 8 bits must do and depth cannot be picked.
    this.exact = Boolean(gl.getExtension("EXT_color_buffer_float") || gl.getExtension("EXT_color_buffer_half_float"));
    this.splats = this.program("splats.vert.glsl", "splats.frag.glsl");
    this.screen = this.program("screen.vert.glsl", "screen.frag.glsl");
    this.image = this.texture();
    this.target = gl.createFramebuffer();
    this.quads = gl.createVertexArray();
    this.nothing = gl.createVertexArray();
    this.orderBuffer = gl.createBuffer();
    gl.bindVertexArray(this.quads);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.orderBuffer);
    const index = gl.getAttribLocation(this.splats.program, "aIndex");
    gl.enableVertexAttribArray(index);
    gl.vertexAttribIPointer(index, 1, gl.UNSIGNED_INT, 0, 0);
    gl.vertexAttribDivisor(index, 1);
    this.shown = 0;
    this.time = 0;
    this.background = [0, 0, 0];
  }

  program(vertex, fragment) {
    const gl = this.gl, program = gl.createProgram();
    for (const [kind, name] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, SHADERS[name]);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) {
      throw new Sentence("This graphics driver could not build the viewer's shaders; try another browser.");
    }
    const at = new Proxy({}, {
      get: (known, name) => (name in known ? known[name] : (known[name] = gl.getUniformLocation(program, name))),
    });
    return { program, at };
  }

  texture() {
    const gl = this.gl, texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    for (const way of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, way, gl.NEAREST);
    for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, side, gl.CLAMP_TO_EDGE);
    return texture;
  }

  // A data texture of four values a texel, filled row by row so that no second copy of the scene is needed.
  data(values, internal, format, type) {
    const gl = this.gl, texels = values.length / 4, largest = gl.getParameter(gl.MAX_TEXTURE_SIZE);
    const width = Math.min(WIDTH, largest), height = Math.max(1, Math.ceil(texels / width));
    if (height > largest) {
      throw new Sentence("This scene is larger than this graphics card can hold; export it with fewer splats.");
    }
    const texture = this.texture(), full = Math.floor(texels / width), rest = texels - full * width;
    gl.texStorage2D(gl.TEXTURE_2D, 1, internal, width, height);
    if (full) gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, width, full, format, type, values);
    if (rest) gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, full, rest, 1, format, type, values, full * width * 4);
    return texture;
  }

  load(scene) {
    const gl = this.gl;
    this.moving = Boolean(scene.motion);
    this.terms = scene.terms;
    this.textures = {
      uMeans: this.data(scene.centers, gl.RGBA32F, gl.RGBA, gl.FLOAT),
      uShapes: this.data(scene.shapes, gl.RGBA32UI, gl.RGBA_INTEGER, gl.UNSIGNED_INT),
      uColors: this.data(scene.colors, gl.RGBA16UI, gl.RGBA_INTEGER, gl.UNSIGNED_SHORT),
      uMotion: this.data(scene.motion || new Float32Array(4), gl.RGBA32F, gl.RGBA, gl.FLOAT),
    };
    if (gl.getError() === gl.OUT_OF_MEMORY) {
      throw new Sentence("This scene does not fit into the graphics memory; export it with fewer splats.");
    }
  }

  setOrder({ order, n, time }) {
    const gl = this.gl;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.orderBuffer);
    gl.bufferData(gl.ARRAY_BUFFER, order, gl.DYNAMIC_DRAW, 0, n);
    this.shown = n;
    this.time = time;
  }

  resize(width, height) {
    if (this.canvas.width === width && this.canvas.height === height && this.sized) return;
    const gl = this.gl;
    Object.assign(this.canvas, { width, height });
    gl.bindTexture(gl.TEXTURE_2D, this.image);
    if (this.exact) gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA16F, width, height, 0, gl.RGBA, gl.HALF_FLOAT, null);
    else gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, width, height, 0, gl.RGBA, gl.UNSIGNED_BYTE, null);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.target);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, this.image, 0);
    this.sized = true;
  }

  // Blend all Gaussians into the off-screen image; `lens` is in pixels of that image.
  blend(camera, lens, pick) {
    const gl = this.gl, { program, at } = this.splats, { width, height } = this.canvas;
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.target);
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    if (!this.shown) return;
    gl.useProgram(program);
    Object.entries(this.textures).forEach(([name, texture], unit) => {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, texture);
      gl.uniform1i(at[name], unit);
    });
    const [right, down, forward] = camera.axes;
    gl.uniformMatrix3fv(at.uRotation, true, [...right, ...down, ...forward]);
    gl.uniform3fv(at.uEye, camera.p);
    gl.uniform4f(at.uLens, lens.fx, lens.fy, lens.cx, lens.cy);
    gl.uniform2f(at.uSize, width, height);
    const beyond = 0.15, left = (-beyond * width - lens.cx) / lens.fx, top = (-beyond * height - lens.cy) / lens.fy;
    const wide = ((1 + 2 * beyond) * width) / lens.fx, tall = ((1 + 2 * beyond) * height) / lens.fy;
    gl.uniform4f(at.uFrame, left, left + wide, top, top + tall);
    gl.uniform1f(at.uTime, this.time);
    gl.uniform1i(at.uTerms, this.terms);
    gl.uniform1i(at.uMoving, this.moving);
    gl.uniform1i(at.uPick, pick);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.bindVertexArray(this.quads);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, this.shown);
    gl.disable(gl.BLEND);
  }

  draw(camera, lens) {
    const gl = this.gl, { program, at } = this.screen;
    this.blend(camera, lens, false);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.useProgram(program);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.image);
    gl.uniform1i(at.uImage, 0);
    gl.uniform3fv(at.uBackground, this.background);
    gl.bindVertexArray(this.nothing);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  // Expected depth at a pixel counted from the top left, or null where there is next to nothing.
  depthAt(camera, lens, x, y) {
    if (!this.exact) return null;
    const gl = this.gl, row = this.canvas.height - 1 - y, pixel = new Float32Array(4);
    gl.enable(gl.SCISSOR_TEST);
    gl.scissor(x, row, 1, 1);
    this.blend(camera, lens, true);
    gl.disable(gl.SCISSOR_TEST);
    gl.readPixels(x, row, 1, 1, gl.RGBA, gl.FLOAT, pixel);
    return pixel[3] > 0.1 ? pixel[0] / pixel[3] : null;
  }
}
