// What the parts of a widget have of each other.

interface MixEvents {
  changed: () => void;
  judge: (style: Style) => void;
  remove: () => void;
}

// From mix.js; it changes `use` in place.
declare function mixRow(style: Style, use: StyleUse, events: MixEvents): HTMLElement;

// From verdict.js:
declare function showVerdict(box: HTMLElement, style: Style): void;

// From shelf.js: `lay` the cards out anew, `mark` those that are on, count one as `used`.
declare function styleShelf(shelf: {
  known: Map<string, Style>;
  isOn: (id: string | undefined) => boolean;
  toggle: (id: string) => void;
}): { lay: () => void; mark: () => void; used: (id: string) => void };

// From wrapping.js:
/** The templates around the prompt, from the outside in, and what they stand around. */
declare function unwrapped(templates: PromptTemplate[]): { on: PromptTemplate[]; words: string };
/** Put a template around the prompt, or take it off again; event `pick` tells what is to be left out. */
declare function wrap(templates: PromptTemplate[], template: PromptTemplate): void;

// From brush.js: strokes on a canvas, in its pixels.
declare function brushOn(canvas: HTMLCanvasElement): {
  size: (width: number, height: number) => void;
  begin: (point: [number, number], width: number, erase: boolean) => void;
  move: (point: [number, number]) => void;
  end: () => void;
  undo: () => void;
  invert: () => void;
  wipe: () => void;
  empty: () => boolean;
  /** White where there are strokes, black elsewhere. */
  file: () => Promise<File>;
};
