// A group as it is now: what the server says when it is asked, and what it tells from then on.
//
// What is heard while an answer is on its way may be newer than the answer, or older. It waits, and is taken over
// behind it: whatever changes is told after the change, so the last that was told is how things are.

import { session } from "../../lib/session.js";
import { Rates } from "./rates.js";

// On the screen, and in memory. What came before is in the database.
export const KEPT_LINES = 200;
// A group may be given more (lines.accounts): nobody reads through as many.
export const MOST_ACCOUNTS = 10_000;

const PAGE = 200;
// Lines that are asked for in one go, at most: those of the chart's ten minutes on a board of average size.
const PAGES_OF_LINES = 5;
// Several new accounts come at once.
const SETTLE_MS = 300;

// Events: `figures`, `accounts` (any of them), `lines`, `load` (an attempt at asking has begun, or has ended).
export class Group extends EventTarget {
  // {id, name, time_zone, activation_code, activation_code_id, figures}; null until the first answer.
  entry = null;
  // By the device's id: {id, line_account_id, display_name, platform, online_status, total_incoming, …}.
  accounts = new Map();
  // The newest first: {id, line_account_id, incoming_line_id, duplicate, at (server's milliseconds), details}.
  lines = [];
  // How many lines have come in since the page was opened, whether or not they are kept here.
  came = 0;
  rates = new Rates();
  isLoading = false;
  // Why the last attempt failed: ApiError, or null.
  error = null;
  #id;
  #signal;
  #clock;
  // Messages that wait for an answer, the last of each kind; lines, all of them.
  #held = null;
  #lines = [];
  // What was told of accounts that are not known yet.
  #strangers = new Map();
  #timer = null;
  #turn = 0;
  #last = 0;

  // `signal` ends what is asked for; `clock` is the server's.
  constructor(id, signal, clock) {
    super();
    this.#id = id;
    this.#signal = signal;
    this.#clock = clock;
    signal.addEventListener("abort", () => clearTimeout(this.#timer));
  }

  get path() {
    return `/api/v1/lines/groups/${this.#id}`;
  }

  // Ask how everything stands. Call it whenever something may have been missed.
  async load() {
    const turn = ++this.#turn;
    this.#held = new Map();
    this.#lines = [];
    this.isLoading = true;
    this.#tell("load");
    let error = null;
    try {
      const answers = await Promise.all([this.#get(""), this.#accountsAfter(0), this.#linesAfter(this.#last)]);
      // Asked again meanwhile.
      if (turn !== this.#turn) return;
      this.#take(...answers);
    } catch (failure) {
      if (this.#signal.aborted || turn !== this.#turn) return;
      error = failure;
    }
    this.#release();
    this.isLoading = false;
    this.error = error;
    this.#tell("load");
  }

  // Take what an administrator's request has been answered with.
  changed(entry) {
    this.entry = entry;
    this.#tell("figures");
  }

  // A publication of the group's channel.
  hear({ type, data }) {
    if (type === "incoming") this.#line(data);
    else if (type === "group_stats_update") this.#keep("figures", () => this.#figures(data));
    else if (type === "account_stats_update") {
      this.#keep(`figures ${data.line_id}`, () => this.#account(data.line_id, data));
    } else if (type === "account_status_change") {
      const { line_account_id, online_status } = data;
      this.#keep(`status ${line_account_id}`, () => this.#account(line_account_id, { online_status }));
    }
  }

  // --- asking ----------------------------------------------------------------------------------------

  #get(what) {
    return session.api.get(`${this.path}${what}`, { signal: this.#signal });
  }

  async #accountsAfter(after) {
    const found = [];
    for (let next = after; next !== null && found.length < MOST_ACCOUNTS; ) {
      const page = await this.#get(`/accounts?limit=${PAGE}${next ? `&after=${next}` : ""}`);
      found.push(...page.accounts);
      ({ next } = page);
    }
    return found;
  }

  // The lines after the one with this id as far as they are wanted, the newest first, and whether that is all.
  async #linesAfter(id) {
    const found = [];
    const longAgo = this.#clock.now() - 11 * 60_000;
    let before = "";
    for (let page = 0; page < PAGES_OF_LINES; page++) {
      const { incoming, next } = await this.#get(`/incoming?limit=${PAGE}${before}`);
      const more = incoming.map((line) => ({ ...line, at: Date.parse(line.received_at) }));
      found.push(...more.filter((line) => line.id > id));
      const oldest = more.at(-1);
      if (next === null || oldest.id <= id || oldest.at < longAgo) return { found, isAll: true };
      before = `&before=${next}`;
    }
    return { found, isAll: false };
  }

  // --- taking over -----------------------------------------------------------------------------------

  #take(entry, accounts, { found, isAll }) {
    const isFirst = this.entry === null;
    this.entry = entry;
    this.accounts = new Map(accounts.map((account) => [account.line_account_id, account]));
    // What is told while it is asked for is held: what was told of these before is older.
    this.#strangers.clear();
    if (!isAll) this.rates.knows(Math.floor(found.at(-1).at / 1000) + 1);
    else if (isFirst) this.rates.knows(0);
    for (const line of found.reverse()) this.#add(line, !isFirst);
    this.#tell("figures");
    this.#tell("accounts");
    this.#tell("lines");
  }

  #release() {
    const [held, lines] = [this.#held, this.#lines];
    this.#held = null;
    this.#lines = [];
    for (const apply of held.values()) apply();
    for (const line of lines) this.#line(line);
  }

  // Do it now, or behind the answer that is awaited.
  #keep(key, apply) {
    if (this.#held === null) apply();
    else this.#held.set(key, apply);
  }

  #line(line) {
    if (this.#held !== null) {
      this.#lines.push(line);
      // Beyond them the newest count: the list has room for no more, and the answer brings the others.
      if (this.#lines.length > PAGE * PAGES_OF_LINES) this.#lines.shift();
      return;
    }
    const { id, line_account_id, incoming_line_id, duplicate, timestamp, details = {} } = line;
    this.#add({ id, line_account_id, incoming_line_id, duplicate, at: timestamp * 1000, details }, true);
    this.#tell("lines");
  }

  // Lines come in the order of their ids, some of them twice: in an answer, and by the channel.
  #add(line, isNew) {
    if (line.id <= this.#last) return;
    this.#last = line.id;
    if (isNew) this.came += 1;
    this.rates.add(Math.floor(line.at / 1000), line.duplicate);
    this.lines.unshift(line);
    if (this.lines.length > KEPT_LINES) this.lines.length = KEPT_LINES;
  }

  #figures({ activation_code, timestamp: _, ...figures }) {
    if (this.entry === null) return;
    const code = activation_code || null;
    const isOther = code !== this.entry.activation_code;
    this.entry = { ...this.entry, figures, activation_code: code };
    this.#tell("figures");
    // Which of the codes it is, is not told.
    if (isOther) this.#soon();
  }

  #account(name, changes) {
    const account = this.accounts.get(name);
    if (account === undefined) {
      if (this.accounts.size >= MOST_ACCOUNTS) return;
      this.#strangers.set(name, { ...this.#strangers.get(name), ...changes });
      this.#soon();
      return;
    }
    for (const key of Object.keys(changes)) if (key in account) account[key] = changes[key];
    this.#tell("accounts");
  }

  // Ask for what is new, in a moment.
  #soon() {
    if (this.entry === null) return;
    this.#timer ??= setTimeout(() => this.#look(), SETTLE_MS);
  }

  async #look() {
    const turn = this.#turn;
    const newest = [...this.accounts.values()].at(-1)?.id ?? 0;
    const asked = new Set(this.#strangers.keys());
    let entry, accounts;
    try {
      [entry, accounts] = await Promise.all([this.#get(""), this.#accountsAfter(newest)]);
      this.#timer = null;
      // Everything has been asked for meanwhile.
      if (turn !== this.#turn) return;
      const { figures, activation_code } = this.entry;
      this.entry = { ...entry, figures, activation_code };
      for (const account of accounts) this.accounts.set(account.line_account_id, account);
    } catch {
      // Asked for again with whatever comes next.
      this.#timer = null;
      return;
    }
    // What was told meanwhile is newer than the answer, or the same; of whom it does not know yet, it is asked again.
    for (const [name, changes] of [...this.#strangers]) {
      const isKnown = this.accounts.has(name);
      if (isKnown || asked.has(name)) this.#strangers.delete(name);
      if (isKnown) this.#account(name, changes);
    }
    this.#tell("figures");
    this.#tell("accounts");
    if (this.#strangers.size > 0 || entry.activation_code !== this.entry.activation_code) this.#soon();
  }

  #tell(event) {
    this.dispatchEvent(new Event(event));
  }
}
