// @ts-check
// A picture in a frame, as large as fits or in any other size, moved by hand.
const MOST_ZOOM = 32;
const SWIPE = 60;

/** @type {typeof globalThis.zoomable} */
const zoomable = (frame, image, changed, swiped) => {
  // In pixels of the page: its left upper corner, and how large each of its pixels is.
  let x = 0;
  let y = 0;
  let scale = 1;
  let fits = true;
  let pulled = 0;
  /** @type {Map<number, PointerEvent>} */
  const held = new Map();

  const actual = () => 1 / devicePixelRatio;
  const fitting = () => Math.min(frame.clientWidth / (image.naturalWidth || 1), frame.clientHeight / (image.naturalHeight || 1));
  // Inside of the frame, or without a gap beside it.
  /** @param {number} at @param {number} room @param {number} size */
  const bounded = (at, room, size) => (size <= room ? (room - size) / 2 : Math.min(0, Math.max(room - size, at)));

  const show = () => {
    const [width, height] = [image.naturalWidth * scale, image.naturalHeight * scale];
    x = bounded(x, frame.clientWidth, width);
    y = bounded(y, frame.clientHeight, height);
    Object.assign(image.style, { width: `${width}px`, height: `${height}px`, transform: `translate(${x}px, ${y}px)` });
    frame.classList.toggle("zoomed", scale > fitting());
    changed(Math.round(100 * scale * devicePixelRatio), fits);
  };
  const fit = () => {
    fits = true;
    scale = fitting();
    show();
  };
  // What is at a point stays there.
  /** @param {number} next @param {{ x: number, y: number }} [point] */
  const to = (next, point = { x: frame.clientWidth / 2, y: frame.clientHeight / 2 }) => {
    // As small as it fits, or as it is.
    const least = Math.min(fitting(), actual());
    if (next <= least && least === fitting()) return fit();
    const by = Math.min(Math.max(next, least), MOST_ZOOM) / scale;
    fits = false;
    x = point.x - (point.x - x) * by;
    y = point.y - (point.y - y) * by;
    scale *= by;
    show();
  };
  /** @param {number} dx @param {number} dy */
  const move = (dx, dy) => {
    x += dx;
    y += dy;
    show();
  };
  /** @param {{ clientX: number, clientY: number }} event */
  const within = ({ clientX, clientY }) => {
    const { left, top } = frame.getBoundingClientRect();
    return { x: clientX - left, y: clientY - top };
  };

  frame.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      to(scale * 1.0015 ** -event.deltaY, within(event));
    },
    { passive: false },
  );
  frame.addEventListener("dblclick", (event) => {
    if (fits) to(Math.max(actual(), 2 * fitting()), within(event));
    else fit();
  });
  frame.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    frame.setPointerCapture(event.pointerId);
    held.set(event.pointerId, event);
    pulled = 0;
  });
  frame.addEventListener("pointermove", (event) => {
    const before = held.get(event.pointerId);
    if (!before) return;
    held.set(event.pointerId, event);
    const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
    const other = [...held.values()].find((each) => each.pointerId !== event.pointerId);
    if (other) {
      /** @param {PointerEvent} from */
      const apart = (from) => Math.hypot(from.clientX - other.clientX, from.clientY - other.clientY) || 1;
      const middle = { clientX: (event.clientX + other.clientX) / 2, clientY: (event.clientY + other.clientY) / 2 };
      to((scale * apart(event)) / apart(before), within(middle));
    } else if (scale > fitting()) move(dx, dy);
    else if (event.pointerType !== "mouse") pulled += dx;
  });
  for (const end of /** @type {const} */ (["pointerup", "pointercancel"])) {
    frame.addEventListener(end, (event) => {
      if (!held.delete(event.pointerId) || end === "pointercancel" || held.size || Math.abs(pulled) < SWIPE) return;
      swiped(pulled < 0 ? 1 : -1);
    });
  }
  new ResizeObserver(() => (fits ? fit() : show())).observe(frame);
  image.addEventListener("load", fit);
  return { fit, move, actual: () => to(actual()), by: (factor) => to(scale * factor) };
};
