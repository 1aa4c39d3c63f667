// What a widget's script finds there: it is the body of a function, with part.js and its helpers before it; the page has
// visitor.js and dom.js.

// From gradio:
declare const element: HTMLElement;
/** The widget's value, and what else of it changes. */
declare const props: {
  // Of a kind that the script says itself.
  value: any;
  answer: any;
  plan: any;
  styles: { id: string; name: string }[];
};
/** What its constructor in Python gives for good: some of these, for each widget others. */
declare const given: {
  styles: Style[];
  hint: string;
  families: Record<string, string>;
  templates: PromptTemplate[];
  wildcards: Record<string, string>;
  columns: number;
  told: { name: string; label: string; neutral: unknown }[];
  names: Record<string, string>;
  schedulers: string[];
  samplers: Record<string, string[]>;
  choices: [number, string][];
  fields: Record<string, { label: string; usual: unknown }>;
  sizes: { name: string; width: number; height: number }[];
  tiers: Tier[];
  chunk: number;
  page_size: number;
  most: number;
  least: number;
  most_bytes: number;
  /** In words, why there is no such thing here, or "". */
  why_not: string;
  burns_above: number;
  /** Whether styles are kept here. */
  keeps: boolean;
  max_weight: number;
  max_guidance: number;
  max_characters: number;
};
declare function trigger(event: string, data?: object): void;
/** Runs when the server has changed that property; not when the script has. */
declare function watch(property: keyof typeof props, run: () => void): void;
declare function upload(file: File): Promise<{ path: string; url: string }>;

// From visitor.js:
interface Keys {
  owner: string;
  desk: string;
  job: string;
}
declare const atelier: Window["atelier"];
interface Window {
  atelier: {
    owner(): string;
    keys(kind: string): Keys;
    /** Of a new job beside those that are `shown`. */
    begin(kind: string, shown: Job & { job?: string }): Keys & { watching: boolean };
    runs(job: Job | undefined): boolean;
    /** What the browser remembers under a name, and what it is to. */
    recall(name: string): any;
    remember(name: string, value: unknown): void;
    /** Of the picture that was painted last. */
    seed?: number;
    /** Open the viewer on one of some pictures. */
    view(items: PictureItem[], index?: number): void;
    /** Do something with a picture, or with several; gives in words what went wrong, or "". */
    act(items: PictureItem | PictureItem[], what: Act): Promise<string>;
    /** Put a style on at weight 1, one that was kept a moment ago too; gives in words what went wrong, or "". */
    wear(id: string): Promise<string>;
    /** Fetch a style of the Hub for this visit and put it on; gives in words what went wrong, or "". */
    bring(repo_id: string): Promise<string>;
    /** Give a style that this browser keeps a picture of its history; gives in words what went wrong, or "". */
    dress(id: string, item: PictureItem): Promise<string>;
    /** All that can be put on, by their ids. */
    styles?: Map<string, Style>;
  };
}

interface WindowEventMap {
  "atelier:marked": CustomEvent<Marked>;
}

// From dom.js. The elements that templates name by data-part:
type Parts = Record<
  | "ask"
  | "cursor"
  | "done"
  | "have"
  | "invert"
  | "paint"
  | "remove"
  | "undo"
  | "wipe"
  | "acts"
  | "all"
  | "bar"
  | "burn"
  | "caption"
  | "cards"
  | "changed"
  | "chips"
  | "chosen"
  | "close"
  | "cost"
  | "count"
  | "empty"
  | "facts"
  | "favourites"
  | "found"
  | "frame"
  | "grid"
  | "hint"
  | "keep"
  | "lesson"
  | "line"
  | "list"
  | "lock"
  | "mix"
  | "mixes"
  | "none"
  | "notes"
  | "notice"
  | "panel"
  | "presets"
  | "progress"
  | "refresh"
  | "save"
  | "say"
  | "says"
  | "select"
  | "status"
  | "strip"
  | "swap"
  | "templates"
  | "tiers"
  | "title"
  | "verdict"
  | "versus"
  | "view"
  | "wrong"
  | "x"
  | "y"
  | "z"
  | "zoom",
  HTMLElement
> & {
  after: HTMLButtonElement;
  before: HTMLButtonElement;
  choose: HTMLSelectElement;
  dialog: HTMLDialogElement;
  filter: HTMLSelectElement;
  file: HTMLInputElement;
  form: HTMLFormElement;
  large: HTMLImageElement;
  more: HTMLButtonElement;
  number: HTMLInputElement;
  open: HTMLButtonElement;
  order: HTMLSelectElement;
  sampler: HTMLSelectElement;
  schedule: HTMLSelectElement;
  over: HTMLImageElement;
  own: HTMLDetailsElement;
  amount: HTMLInputElement;
  brush: HTMLButtonElement;
  clear: HTMLButtonElement;
  eraser: HTMLButtonElement;
  feather: HTMLInputElement;
  mask: HTMLCanvasElement;
  owner: HTMLInputElement;
  wish: HTMLTextAreaElement;
  cover: HTMLCanvasElement;
  thumb: HTMLImageElement;
  width: HTMLInputElement;
  plot: SVGElement;
  search: HTMLInputElement;
  sheet: HTMLDialogElement;
  switch: HTMLButtonElement;
  since: HTMLInputElement;
  slide: HTMLInputElement;
  under: HTMLImageElement;
  until: HTMLInputElement;
  words: HTMLInputElement;
  zip: HTMLFormElement;
};
declare function part<N extends keyof Parts>(name: N): Parts[N];
declare function findAll(within: ParentNode, selector: string): HTMLElement[];
/** Whether something happened in such an element. */
declare function inside(event: Event, selector: string): boolean;
declare function make<T extends keyof HTMLElementTagNameMap>(tag: T, className?: string, text?: string): HTMLElementTagNameMap[T];
/** A button. */
declare function press(className: string, text: string | undefined, run: () => void): HTMLButtonElement;
/** A list of facts, without those that are empty. */
declare function terms(facts: [name: string, value: unknown][]): HTMLElement;
/** Words in an element that is not there without any. */
declare function notify(node: HTMLElement, words: string | undefined): void;
declare function picture(cell: Element, src: string, alt: string, done: boolean): HTMLImageElement;
declare function download(url: string, name: string): void;
declare function promptArea(): HTMLTextAreaElement | null;
declare function write(area: HTMLTextAreaElement | HTMLInputElement, text: string): void;
declare function mention(word: string): void;
declare function plural(n: number, word: string): string;
declare function roughly(seconds: number): string;
declare function signed(number: number): string;
/** A place in the queue in words. */
declare function turn(place: number): string;
/** Why nothing goes on in the queue, if nothing does. */
declare function stalled(value: { stalled?: boolean }): string;
/** Why a job's steps are counted anew, if they are. */
declare function again(value: { restarts?: number }): string;

// From job.js:
type Sentences<J extends { status: string }> = {
  [S in J["status"]]?: (value: Extract<J, { status: S }>) => string;
};
/**
 * Show the widget's value, a job, whenever it changes. `kind` is its place in the dataset of <html>, where the buttons
 * look; `notice` is the place for what went wrong; `share` is how much of it is done, 0 to 1. Gives how to show it.
 */
declare function showJob<J extends Job>(widget: {
  kind: "atelier" | "compare" | "train";
  notice: () => HTMLElement | null;
  sentences: Sentences<J>;
  share: (value: J) => number;
  draw: (value: J, running: boolean) => void;
}): () => void;

// From strip.js:
/** One's own jobs that wait or failed, with events `cancel` and `sooner` for the one that is `asked`. */
declare function showStrip(list: HTMLElement, jobs: Brief[]): void;

// From named.js:
/** Chips of what is kept under names in `box`; `current` is undefined where there is nothing to keep. Gives how to show them. */
declare function named(kept: {
  box: HTMLElement;
  key: string;
  /** What the button says. */
  keep: string;
  current: () => unknown;
  take: (kept: any) => void;
}): () => void;

// From acts.js:
declare function keyOf(item: PictureItem): string;
declare function pictureName(item: PictureItem): string;
/** A button that asks to be pressed once more. */
declare function twice(className: string, label: string, sure: string, run: () => void): HTMLButtonElement;
/** A button that makes a picture a favourite, or none any more; `fail` is told in words what went wrong, or "". */
declare function heart(className: string, item: PictureItem, fail: (words: string) => void): HTMLButtonElement;
/** Put one of some pictures into a cell, as a button that opens it. */
declare function lookCloser(cell: Element, items: PictureItem[], i: number): void;
/** The pictures of a job. */
declare function painted(value: Painted): PictureItem[];
/** A bar of what is done most, with one of the pictures that the cells show; `say` is told what went wrong, or "". */
declare function showActs(place: HTMLElement, items: PictureItem[], cells: Element[], say: (words: string) => void): void;

// From zoom.js:
/**
 * Let a picture be zoomed and moved in its frame: `changed` is told how many percent of its own size it has, and whether
 * it fits; `swiped` is told where to.
 */
declare function zoomable(
  frame: HTMLElement,
  image: HTMLImageElement,
  changed: (percent: number, fits: boolean) => void,
  swiped: (by: 1 | -1) => void,
): { fit(): void; actual(): void; by(factor: number): void; move(dx: number, dy: number): void };

// From files.js:
/** In words, that a file is too large to be sent, or "". */
declare function tooLarge(file: File): string;
declare function sendFile(file: File, run: (sent: SentFile) => void, fail: (words: string) => void): Promise<void>;
