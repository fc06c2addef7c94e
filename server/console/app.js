// The console: its header, its navigation, and which page is shown.

import { ApiError } from "./lib/api.js";
import { $, element } from "./lib/dom.js";
import { LANGUAGES, language, setLanguage, store, stored } from "./lib/i18n.js";
import { tellNews } from "./lib/news.js";
import { session } from "./lib/session.js";
import { toast, words } from "./lib/ui.js";
import { t } from "./texts.js";

// In the order of the navigation. `needs` is the app that has to run, `may` who sees it.
const PAGES = {
  notifications: { needs: "notifications" },
  rooms: { needs: "rooms" },
  board: { needs: "lines", may: () => session.isAdmin || session.user.group_id !== null },
  profile: { needs: "accounts" },
  users: { needs: "accounts", may: () => session.isAdmin },
  monitor: { may: () => session.isAdmin },
  lab: {},
};

const TONES = { idle: "idle", connecting: "busy", waiting: "busy", connected: "good", paused: "idle", polling: "busy", ended: "bad" };

let unread = 0;
let shown = 0;
let current = "";

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
  let page;
  try {
    ({ page } = await import(`./pages/${name}/page.js`));
  } catch (error) {
    // A newer server has other files, or there is none at the moment.
    if (turn === shown) toast(t("page_failed"), { text: error.message, tone: "bad" });
    return;
  }
  // Somebody has gone on meanwhile.
  if (turn !== shown) return;
  document.title = `${t(name)} · Tidings`;
  const made = new page();
  made.setAttribute("argument", argument);
  $("main").replaceChildren(made);
  if (focus) made.querySelector("h1")?.focus({ preventScroll: true });
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
  $("state").dataset.tone = TONES[state.name];
  $("state-text").textContent = t(`state_${state.name}`);
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
$("language").addEventListener("change", () => {
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
  // What was told meanwhile is not told again.
  if (detail.name === "connected" && session.has("notifications")) count();
});

// The badge and the toasts are the frame's: they are there whichever page is shown.
function listen() {
  session.tidings.on("unread_count", (data) => {
    unread = data.unread;
    showUnread();
  });
  session.tidings.on("notification", ({ title, message }) => {
    if (route()[0] !== "notifications") toast(title, { text: message, link: "#/notifications" });
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
  if (location.hash.startsWith("#token=")) session.start().catch((error) => toast(words(error), { tone: "bad" }));
  else showPage();
});

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
