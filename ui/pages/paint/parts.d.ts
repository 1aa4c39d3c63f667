// What the parts of a widget have of each other.

interface MixEvents {
  changed: () => void;
  judge: (style: Style) => void;
  remove: () => void;
}

// From mix.js; it changes `use` in place.
declare function mixRow(style: Style, use: StyleUse, events: MixEvents): HTMLElement;

// From verdict.js:
/**
 * The panel that says what a file is: `judge` shows a style, `open` goes there too, `again` shows what has changed of it.
 * `acts` are what can be done with it, `now` is what is known of an id, and `closed` is told when it has been closed.
 */
declare function verdictPanel(
  box: HTMLElement,
  panel: { acts: (style: Style) => HTMLElement[]; now: (id: string) => Style | undefined; closed: (style: Style) => void },
): { judge: (style: Style) => void; open: (style: Style) => void; again: () => void };

// From mine.js:
type Kept = "list" | "keep" | "rename" | "preview" | "forget" | "pictures";
/** Ask the server about what this browser keeps, or to do something with it. */
declare function askKept(what: Kept, data?: object): Promise<KeptAnswer>;
declare function heard(answer: KeptAnswer): void;
/** Put what is kept among the `known`, in the place of what has the same content: the ids that are gone, and what of that became of others. */
declare function takeIn(known: Map<string, Style>, kept: Style[]): { gone: Set<string>; became: [from: string, to: string][] };
/** Whether this browser keeps it, or may. */
declare function canBeKept(style: Style): boolean;
/** What can be done with a style of one's own; `change` tells the server, with `words` before and `done` after it. */
declare function ownActs(style: Style, change: (what: Kept, data: object, words: string, done: string) => void): HTMLElement[];

// From shelf.js: `lay` the cards out anew, `mark` those that are on, count one as `used`, or one `moved` to another id.
/** Whether a visitor brought it. */
declare function isOwn(style: Style): boolean;
declare function styleShelf(shelf: {
  known: Map<string, Style>;
  isOn: (id: string | undefined) => boolean;
  toggle: (id: string) => void;
  manage: (style: Style) => void;
}): { lay: () => void; mark: () => void; used: (id: string) => void; moved: (from: string, to: string) => void };

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
