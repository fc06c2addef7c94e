// The console: its header, its navigation, and which page is shown.

import { ApiError } from "./lib/api.js";
import { $, element } from "./lib/dom.js";
import { LANGUAGES, language, setLanguage, store, stored } from "./lib/i18n.js";
import { tellNews, tellNotification } from "./lib/news.js";
import { session } from "./lib/session.js";
import { ask, toast, words } from "./lib/ui.js";
// With the frame, so that it is there when somebody logs out of a server that is gone.
import "./pages/login/page.js";
import { t } from "./texts.js";

// In the order of the navigation. `needs` is the app that has to run, `may` who sees it; `ages` where what is shown
// would look like news while there is no connection. The others say so themselves.
const PAGES = {
  notifications: { needs: "notifications" },
  rooms: { needs: "rooms" },
  board: { needs: "lines", may: () => session.isAdmin || session.user.group_id !== null, ages: true },
  profile: { needs: "accounts", ages: true },
  users: { needs: "accounts", may: () => session.isAdmin, ages: true },
  monitor: { may: () => session.isAdmin },
  lab: {},
};

// A line that is back in so long is nothing to tell people of.
const STALE_MS = 3_000;

const TONES = { idle: "idle", connecting: "busy", waiting: "busy", connected: "good", paused: "idle", polling: "busy", ended: "bad" };

let unread = 0;
let shown = 0;
let current = "";
let isFailed = false;
let staleTimer = null;

function allowed(name) {
  const page = Object.hasOwn(PAGES, name) ? PAGES[name] : undefined;
  return page !== undefined && (!page.needs || session.has(page.needs)) && (page.may?.() ?? true);
}

// "#/rooms/lobby" → ["rooms", "lobby"]
function route() {
  const [name, ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  try {
    return [name, decodeURIComponent(rest.join("/"))];
  } catch {
    // Somebody's own "%".
    return [name, ""];
  }
}

async function showPage({ focus = true } = {}) {
  const turn = ++shown;
  let [name, argument] = route();
  if (session.user === null) name = "login";
  else if (!allowed(name)) {
    name = Object.keys(PAGES).find(allowed);
    argument = "";
    history.replaceState(null, "", `#/${name}`);
  }
  openMenu(false);
  current = name;
  markCurrent();
  showStale();
  // What somebody saw who is gone is nobody else's business, whatever becomes of the next page.
  if (session.user === null) $("main").replaceChildren();
  $("main").setAttribute("aria-busy", "true");
  let page;
  try {
    ({ page } = await import(`./pages/${name}/page.js`));
    isFailed = false;
  } catch {
    // There is no server at the moment, or a newer one with other files.
    if (turn !== shown) return;
    isFailed = true;
    const again = element("button", { type: "button" }, t("try_again"));
    again.addEventListener("click", () => showPage());
    $("main").replaceChildren(element("div", { className: "card stack" },
      element("h1", { tabIndex: -1 }, t(name)), element("p", { role: "alert" }, t("page_failed")), element("div", {}, again)));
  }
  // Somebody has gone on meanwhile.
  if (turn !== shown) return;
  $("main").removeAttribute("aria-busy");
  document.title = `${t(name)} · Tidings`;
  if (!isFailed) {
    const made = new page();
    made.setAttribute("argument", argument);
    $("main").replaceChildren(made);
  }
  if (focus) $("main").querySelector("h1")?.focus({ preventScroll: true });
  scrollTo(0, 0);
}

function showFrame() {
  const user = session.user;
  document.documentElement.lang = language();
  document.querySelector(".skip").textContent = t("skip");
  $("nav").setAttribute("aria-label", t("pages"));
  $("language").setAttribute("aria-label", t("language"));
  $("nav").hidden = $("log-out").hidden = $("menu").hidden = $("state").hidden = user === null;
  $("log-out").textContent = t("log_out");
  $("menu").textContent = t("menu");
  $("who").textContent = user?.username ?? "";
  const links = user === null ? [] : Object.keys(PAGES).filter(allowed).map((name) => element("li", {},
    element("a", { href: `#/${name}` }, t(name),
      name === "notifications" && element("span", { className: "badge", id: "unread", hidden: true }))));
  const elsewhere = element("ul", { className: "elsewhere" },
    element("li", {}, element("a", { href: "../docs" }, "HTTP API")));
  $("nav").replaceChildren(element("ul", {}, ...links), elsewhere);
  markCurrent();
  showUnread();
  showTheme();
  if (user !== null) showState(session.tidings.state);
}

function markCurrent() {
  for (const link of $("nav").querySelectorAll("a")) {
    if (link.hash === `#/${current}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function showState(state) {
  if (state.name === "connected") showStale();
  // From the loss on, however many attempts there are.
  else staleTimer ??= setTimeout(showStale, STALE_MS);
  $("state").dataset.tone = TONES[state.name];
  $("state-text").textContent = t(`state_${state.name}`);
}

function showStale() {
  clearTimeout(staleTimer);
  staleTimer = null;
  const isStale = session.tidings !== null && !session.tidings.isConnected() && PAGES[current]?.ages;
  $("stale").textContent = isStale ? t("stale") : "";
  $("stale").hidden = !isStale;
}

function showUnread() {
  const badge = $("unread");
  if (badge === null) return;
  badge.hidden = unread === 0;
  badge.textContent = unread > 99 ? "99+" : String(unread);
  badge.setAttribute("aria-label", t("unread", { count: unread }));
}

// --- light and dark ---------------------------------------------------------------------------------

const THEMES = ["system", "light", "dark"];

function theme() {
  const chosen = stored("tidings.theme");
  return THEMES.includes(chosen) ? chosen : "system";
}

function showTheme() {
  if (theme() === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme();
  $("theme").textContent = `◐ ${t(`theme_${theme()}`)}`;
  $("theme").setAttribute("aria-label", t("theme", { name: t(`theme_${theme()}`) }));
}

$("theme").addEventListener("click", () => {
  store("tidings.theme", THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]);
  showTheme();
});

// --- language, menu, login --------------------------------------------------------------------------

$("language").append(...Object.entries(LANGUAGES).map(([code, name]) => element("option", { value: code, lang: code }, name)));
$("language").value = language();
$("language").addEventListener("change", async () => {
  // The page is made anew in the other language.
  const isTyped = [...$("main").querySelectorAll("input:not([type=search]), textarea")].some((each) => each.value !== each.defaultValue);
  if (isTyped && !(await ask({ title: t("lose_ask"), text: t("lose_text"), confirm: t("lose") }))) {
    $("language").value = language();
    return;
  }
  setLanguage($("language").value);
  showFrame();
  showPage({ focus: false });
});

// On a narrow screen the navigation and the settings are behind one button.
function openMenu(open) {
  document.body.toggleAttribute("data-open", open);
  $("menu").setAttribute("aria-expanded", String(open));
}

$("menu").addEventListener("click", () => openMenu(!document.body.hasAttribute("data-open")));

addEventListener("keydown", ({ key }) => {
  if (key !== "Escape" || !document.body.hasAttribute("data-open")) return;
  openMenu(false);
  $("menu").focus();
});

// What somebody is about to choose is on its way before they have.
for (const type of ["pointerover", "focusin"]) {
  $("nav").addEventListener(type, ({ target }) => {
    const name = target.closest("a")?.hash.slice(2);
    if (name && allowed(name)) import(`./pages/${name}/page.js`).catch(() => {});
  });
}

$("log-out").addEventListener("click", () => session.logOut());

session.addEventListener("change", () => {
  unread = 0;
  // Questions to somebody who is gone.
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  showFrame();
  showPage();
  if (session.user === null) return;
  tellNews(session.tidings);
  if (session.has("notifications")) listen();
});
session.addEventListener("renewed", showFrame);
session.addEventListener("state", ({ detail }) => {
  showState(detail);
  if (detail.name !== "connected") return;
  if (isFailed) showPage({ focus: false });
  // What was told meanwhile is not told again.
  if (session.has("notifications")) count();
});

// The badge and the toasts are the frame's: they are there whichever page is shown.
function listen() {
  session.tidings.on("unread_count", (data) => {
    unread = data.unread;
    showUnread();
  });
  session.tidings.on("notification", (data) => {
    if (route()[0] !== "notifications") tellNotification(data, "#/notifications");
  });
}

async function count() {
  try {
    ({ unread } = await session.api.get("/api/v1/notifications/unread"));
    showUnread();
  } catch {
    // The next change of it is told anyway.
  }
}

// Not by its address, which is that of a page here.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  $("main").focus();
});

addEventListener("hashchange", () => {
  // A link with a token, opened where the console already is.
  if (location.hash.startsWith("#token=")) followLink();
  else showPage();
});

async function followLink() {
  try {
    // Whoever was logged in is on the page that the link has overwritten.
    if (!(await session.takeLink())) history.replaceState(null, "", `#/${current}`);
    if (session.user === null) showPage();
  } catch (error) {
    history.replaceState(null, "", `#/${current}`);
    toast(t("link_failed"), { text: words(error), tone: "bad" });
  }
}

session.mayReplace = ({ username }) =>
  ask({ title: t("replace_ask", { name: username }), text: t("replace_text"), confirm: t("replace", { name: username }) });

async function start() {
  showFrame();
  try {
    await session.start();
    if (session.user === null) showPage({ focus: false });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    const again = element("button", { type: "button" }, t("try_again"));
    again.addEventListener("click", start);
    $("main").replaceChildren(element("div", { className: "card stack" }, element("p", { role: "alert" }, words(error)), again));
  }
}

start();
