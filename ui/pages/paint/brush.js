// @ts-check
// A mask as a list of strokes, drawn anew after each change, so that any number can be taken back in no memory.
/** @typedef {{ kind: "line", erase: boolean, width: number, points: [number, number][] } | { kind: "invert" | "wipe" }} Stroke */

// To be seen on any picture.
const COLOUR = "#d2522f";

/** @param {CanvasRenderingContext2D} context @param {Extract<Stroke, { kind: "line" }>} stroke @param {number} [since] */
function trace(context, { erase, width, points }, since = 0) {
  context.globalCompositeOperation = erase ? "destination-out" : "source-over";
  Object.assign(context, { lineCap: "round", lineJoin: "round", lineWidth: width, strokeStyle: COLOUR });
  context.beginPath();
  context.moveTo(...points[Math.max(0, since - 1)]);
  for (const point of points.slice(Math.max(1, since))) context.lineTo(...point);
  // A dot is a line, if a short one.
  if (points.length === 1) context.lineTo(points[0][0] + 0.01, points[0][1]);
  context.stroke();
}

/** @param {CanvasRenderingContext2D} context @param {Stroke} stroke */
function apply(context, stroke) {
  const { width, height } = context.canvas;
  if (stroke.kind === "line") return trace(context, stroke);
  if (stroke.kind === "wipe") return context.clearRect(0, 0, width, height);
  context.globalCompositeOperation = "source-out";
  context.fillStyle = COLOUR;
  context.fillRect(0, 0, width, height);
}

/** @type {typeof globalThis.brushOn} */
const brushOn = (canvas) => {
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  /** @type {Stroke[]} */
  let strokes = [];
  /** @type {Extract<Stroke, { kind: "line" }> | undefined} */
  let drawing;

  const redraw = () => {
    context.clearRect(0, 0, canvas.width, canvas.height);
    for (const stroke of strokes) apply(context, stroke);
  };
  /** @param {Stroke} stroke */
  const add = (stroke) => {
    strokes.push(stroke);
    redraw();
  };
  return {
    size: (width, height) => {
      Object.assign(canvas, { width, height });
      strokes = [];
      redraw();
    },
    begin: (point, width, erase) => {
      drawing = { kind: "line", erase, width, points: [point] };
      strokes.push(drawing);
      trace(context, drawing);
    },
    move: (point) => {
      if (!drawing) return;
      drawing.points.push(point);
      trace(context, drawing, drawing.points.length - 1);
    },
    end: () => {
      drawing = undefined;
    },
    undo: () => {
      strokes.pop();
      redraw();
    },
    invert: () => add({ kind: "invert" }),
    wipe: () => add({ kind: "wipe" }),
    empty: () => !context.getImageData(0, 0, canvas.width, canvas.height).data.some((value, i) => i % 4 === 3 && value > 0),
    // White on black, as the mask of a request is.
    file: async () => {
      const flat = make("canvas");
      Object.assign(flat, { width: canvas.width, height: canvas.height });
      const under = /** @type {CanvasRenderingContext2D} */ (flat.getContext("2d"));
      under.drawImage(canvas, 0, 0);
      for (const [operation, colour] of [
        ["source-in", "#fff"],
        ["destination-over", "#000"],
      ]) {
        Object.assign(under, { globalCompositeOperation: operation, fillStyle: colour });
        under.fillRect(0, 0, flat.width, flat.height);
      }
      const blob = await new Promise((done) => flat.toBlob(done, "image/png"));
      return new File([blob], "mask.png", { type: "image/png" });
    },
  };
};
