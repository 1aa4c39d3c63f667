// What Python tells the widgets and what they tell Python, as far as they use it.

/** A file on the server, as gradio describes it. */
interface SentFile {
  path: string;
  url: string;
  orig_name: string;
  meta?: { _type: "gradio.FileData" };
}

/** An adapter; with a verdict on it where it has been inspected. */
interface Style extends Partial<Verdict> {
  id: string;
  name: string;
  triggers: string[];
  preview?: string;
  /** Seconds since 1970. */
  added?: number;
  description?: string;
  source?: string;
  licence?: string;
  sha256?: string;
  rank?: number;
  parameters?: number;
  share?: number;
  /** An embedding is a word of the prompt. */
  kind?: "adapter" | "embedding";
  /** How one that was distilled says that it paints in few steps. */
  few_steps?: { steps: number; schedulers: string[]; guidance_scale: number } | null;
  words?: string[];
  /** Of one that this browser keeps: where it came from, what it says of its training, the addresses of its files. */
  origin?: string;
  training?: Record<string, string>;
  file?: string;
  config?: string | null;
}

interface Verdict {
  fits: boolean;
  reason: string;
  family: string;
  family_known_by: string;
  base: string;
  matched: number;
  unmatched: number;
  unmatched_examples: string[];
  ignored: number;
  notes: string[];
  tags: string[];
  groups: Record<string, { kinds: Record<string, number>; rank: [number, number]; alpha: [number, number] }>;
}

/** An adapter in a mix, as a request names it; `muted` ones stay on the page. */
interface StyleUse {
  id: string;
  weight: number;
  text_weight?: number;
  start?: number;
  end?: number;
  blocks?: Record<string, number>;
  muted?: boolean;
}

interface PromptTemplate {
  name: string;
  prompt: string;
  negative: string;
}

/** Settings as a picture's details tell them. */
interface Details {
  prompt: string;
  prompts?: string[];
  negative_prompt?: string;
  negative_prompts?: string[];
  steps: number;
  scheduler: string;
  width: number;
  height: number;
  hires?: { width: number; height: number; steps: number; strength: number } | null;
  adapters: { id: string; name: string; sha256?: string; weight: number; text_weight?: number; start?: number; end?: number }[];
  comparison?: Record<string, Axis | null>;
  profile?: string;
  timings?: { total: number };
  /** Other fields of a request. */
  [field: string]: unknown;
}

/** A finished picture, wherever it is shown: with `id` and `picture`, its set and its number there, if the history has it. */
interface PictureItem {
  url: string;
  prompt: string;
  /** What it is among others, where not its prompt. */
  about?: string;
  seed: number | null;
  thumbnail?: string;
  details?: Details;
  created?: number;
  id?: string;
  picture?: number;
  favourite?: boolean;
  /** It was deleted here. */
  gone?: boolean;
  /** Of its file. */
  name?: string;
}

type Act =
  | "restore"
  | "seed"
  | "prompt"
  | "start"
  | "mask"
  | "enlarge"
  | "vary"
  | "compare"
  | "style"
  | "favourite"
  | "download"
  | "delete";

/** What was done with pictures of the history, by keyOf, and how many are left. */
interface Marked {
  what: "favourite" | "delete";
  on: boolean;
  keys: string[];
  count: number;
}

interface Axis {
  title: string;
  labels: string[];
}

/** A job, whatever it does. */
interface Job {
  status:
    | "empty"
    | "sent"
    | "planned"
    | "waiting"
    | "painting"
    | "cell"
    | "training"
    | "sampling"
    | "live"
    | "done"
    | "stopped"
    | "failed"
    | "cancelled";
  message?: string;
  notice?: string;
}

/** A job that waits or failed, in a line. */
interface Brief {
  job: string;
  title: string;
  status: string;
  place?: number;
  expected_seconds?: number;
  message?: string;
  run?: number;
  runs?: number;
}

/** A place in the queue, and when its turn is. */
interface Waiting {
  place: number;
  expected_seconds: number;
  stalled?: boolean;
}

/** A step of the picture that is being painted. */
interface Step {
  step: number;
  steps: number;
  preview: string | null;
  restarts?: number;
}

/** What the page knows of all jobs, beside the one in front. */
interface AtDesk {
  job?: string;
  others?: Brief[];
  last?: Painted;
  run?: number;
  runs?: number;
}

type PaintJob = Job &
  AtDesk & { width?: number; height?: number; finished?: SentFile[] } & (
    | { status: "empty" | "sent" | "failed" | "cancelled" }
    | ({ status: "waiting" } & Waiting)
    | ({ status: "painting"; image: number; images: number } & Step)
    | ({ status: "done" } & Painted)
    | ({ status: "live"; picture: string; key: string } & Painted)
  );

/** Steps, sampler and guidance that go together, and the adapter that they need, or where it can be had. */
interface Tier {
  name: string;
  about: string;
  values: Record<string, unknown>;
  adapter: StyleUse | null;
  offer: Offer | null;
}

/** An adapter on the Hub, with the address of its card. */
interface Offer {
  repo_id: string;
  licence: string;
  bytes: number;
  sha256: string;
  url: string;
}

interface Painted extends Details {
  /** Their set in the history, if they are there, with their numbers if these are not 0, 1 … */
  kept?: string;
  images: (SentFile & { picture?: number; favourite?: boolean })[];
  seeds: number[];
  /** Not of a batch that was stopped. */
  timings?: { total: number };
}

/** What a comparison is from its plan on. */
interface Grid {
  x: Axis;
  y: Axis | null;
  z?: Axis | null;
  columns: number;
  rows: number;
  pages: number;
  width: number;
  height: number;
  cells: number;
  painted: SentFile[];
  /** Of each of them; at last all of it. */
  told: (Details | { prompt: string; seed: number })[];
}

type CompareJob = Job &
  Partial<Grid> &
  (
    | { status: "empty" | "sent" | "planned" | "failed" | "cancelled" }
    | ({ status: "waiting"; cell: number } & Grid & Waiting)
    | ({ status: "painting"; cell: number } & Grid & Step)
    | ({ status: "cell"; cell: number } & Grid)
    | ({ status: "done"; sheet: SentFile } & Grid)
  );

/** What a style was at a step: pictures by percent of its weight, its file and its id among the kept, if there are. */
interface Sample {
  step: number;
  pictures: Record<string, string>;
  file: string | null;
  kept: string | null;
}

interface TrainView {
  id: string;
  name: string;
  prompt: string;
  seed: number;
  pictures: number;
  step: number;
  steps: number;
  place: number;
  stopping: boolean;
  seconds: number;
  seconds_left: number;
  losses: [number, number][];
  samples: Sample[];
}

type TrainStatus = "waiting" | "training" | "sampling" | "done" | "stopped" | "failed";
type TrainJob = Job & ({ status: "empty" } | { [S in TrainStatus]: { status: S } & TrainView }[TrainStatus]);

/** A picture on the sheet of what is learnt from; `box` is what of it, in shares. */
interface Handed {
  name: string;
  caption: string;
  width: number;
  height: number;
  box: number[];
  thumb: string;
}

/** What a request comes to before it is sent, or why it comes to nothing; a place of 0 is none in the queue. */
interface Plan {
  expected_seconds: number;
  place: number;
  starts_in: number;
  error?: string;
}

/** How a prompt is read; without its count there is nothing to tell. */
interface Tokenized {
  count: number;
  chunks: number;
  tokens: string[];
  weights: number[];
  clamped: string[];
  dropped: string[];
  parts: number[];
  schedule: [number, string][];
  triggers: { present: string[]; missing: string[] };
  /** Styles that are named in the prompt, but are not there. */
  unknown: string[];
  error?: string;
}

/** What one click on Paint made, as the history has it. */
interface PictureSet {
  id: string;
  created: number;
  details: Details;
  pictures: { picture: number; seed: number | null; favourite: boolean; url: string; thumbnail: string }[];
}

type KeptPicture = PictureItem & PictureSet["pictures"][0] & { details: Details; created: number };

/** What the property `answer` says to a question, by its number. */
interface Answer {
  number: number;
  error?: string;
}

interface SheetAnswer extends Answer {
  pictures: Handed[];
}

interface TrainAnswer extends Answer {
  view?: TrainJob;
}

/** What came of a wish: a picture in an address, or that it rests. */
type LiveAnswer = Answer & ({ status: "superseded" } | ({ status: "resting" } & Waiting) | ({ status: "done"; picture: string } & Painted));

interface ActAnswer extends Answer {
  count?: number;
}

interface HistoryAnswer extends Answer {
  sets: PictureSet[];
  count: number;
  notice?: string;
}

interface RestoreAnswer extends Answer {
  /** Whether the picture says nothing of how it was made. */
  plain?: boolean;
  done: string;
  notes: string[];
  /** Who says what about the picture. */
  marks?: string[];
}

/** What this browser keeps, with what happened to it as a notice; or pictures of its history. */
interface KeptAnswer extends Answer {
  kept?: Style[];
  notice?: string;
  pictures?: { id: string; picture: number; thumbnail: string }[];
}

type StylesAnswer = Answer &
  (
    | ({ event: "mine" } & KeptAnswer)
    | { event: "inspect"; style: Style }
    | { event: "refresh"; styles: Style[] }
    | { event: "search"; found: HubModel[] }
    | { event: "export"; file: SentFile; details: Exported }
  );

interface HubModel {
  id: string;
  licence?: string;
  downloads?: number;
}

/** A mix in one file: its rank, and what share of its change was lost. */
interface Exported {
  rank: number;
  error: number;
}
