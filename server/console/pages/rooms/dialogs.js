// What is asked in dialogs: a new room, the settings of one, somebody to write to.

import { element, field } from "../../lib/dom.js";
import { form } from "../../lib/form.js";
import { ask, show, words } from "../../lib/ui.js";
import { refusal } from "./refusals.js";
import { t } from "./texts.js";

const POLICIES = ["open", "invited", "announcements"];
// Names and ids are no prose.
const AS_TYPED = { autocomplete: "off", autocapitalize: "off", spellcheck: false, required: true };
const NAME = /^[A-Za-z0-9_.:-]{1,128}$/;

// What a room's name may be: "" if it is one, else what is wrong with it.
export function wrongName(name) {
  return NAME.test(name) ? "" : t("bad_name");
}

export function createRoom(talk) {
  const name = element("input", { ...AS_TYPED, name: "name", maxLength: 128 });
  const about = settings({ title: "", topic: "", policy: "open" });
  dialog(t("create_title"), {
    inputs: { name, ...about.inputs },
    rows: [field(t("room_name"), name, t("room_name_hint")), ...about.rows],
    submit: t("create"),
    check: () => (NAME.test(name.value.trim()) ? null : { field: "name", text: t("bad_name") }),
    explain: (error) => (error.status === 409 ? { field: "name", text: t("taken") } : refusal(error)),
    send: async () => {
      const made = await talk.api.post("/api/v1/rooms", { name: name.value.trim(), ...about.values });
      talk.refresh();
      location.hash = `#/rooms/${made.name}`;
    },
  });
}

// `kept` is the room's entry in the server's list.
export function changeRoom(talk, kept) {
  const about = settings(kept);
  const path = `/api/v1/rooms/${kept.name}`;
  const remove = element("button", { type: "button", className: "danger" }, t("delete_room"));
  const owns = kept.role === "owner" || talk.isAdmin;
  const close = dialog(t("settings_of", { room: kept.title || kept.name }), {
    inputs: about.inputs,
    rows: about.rows,
    submit: t("save"),
    beside: owns ? [remove] : [],
    explain: refusal,
    send: async () => {
      await talk.api.patch(path, about.values);
      talk.refresh();
    },
  }, async () => {
    const title = t("delete_title", { room: kept.name });
    if (!(await ask({ title, text: t("delete_text"), confirm: t("delete_room"), danger: true }))) return;
    await talk.api.delete(path);
    close();
    talk.closeRoom(kept.name);
    talk.refresh();
    location.hash = "#/rooms";
  }, remove);
}

export function writeTo(talk) {
  const list = element("datalist", { id: "people-to-write" },
    ...[...talk.people].slice(-200).map(([id, name]) => element("option", { value: id }, name)));
  const user = element("input", { ...AS_TYPED, name: "user_id" });
  user.setAttribute("list", list.id);
  dialog(t("write_title"), {
    inputs: { user },
    rows: [list, field(t("user_id"), user, t("user_hint"))],
    submit: t("write"),
    send: () => {
      location.hash = `#/rooms/${encodeURIComponent(`@${talk.idOf(user.value.trim())}`)}`;
    },
  });
}

function settings({ title, topic, policy }) {
  const inputs = {
    title: element("input", { name: "title", maxLength: 128, autocomplete: "off", value: title }),
    topic: element("input", { name: "topic", maxLength: 1024, autocomplete: "off", value: topic }),
    policy: element("select", { name: "policy" },
      ...POLICIES.map((value) => element("option", { value, selected: value === policy }, t(`choose_${value}`)))),
  };
  return {
    inputs,
    rows: ["title", "topic", "policy"].map((name) => field(t(`room_${name}`), inputs[name])),
    get values() {
      return { title: inputs.title.value.trim(), topic: inputs.topic.value.trim(), policy: inputs.policy.value };
    },
  };
}

// A form in a dialog that closes when it was sent. Returns what closes it. `remove` runs at the other button.
function dialog(heading, { send, beside = [], ...parts }, remove = null, removing = null) {
  const cancel = element("button", { type: "button" }, t("cancel"));
  const made = element("dialog", { "aria-labelledby": "room-dialog" });
  const close = () => made.close();
  cancel.addEventListener("click", close);
  const inner = form({
    ...parts,
    className: "",
    beside: [cancel, ...beside],
    send: async () => {
      await send();
      close();
    },
  });
  const failed = element("p", { className: "error", role: "alert" });
  removing?.addEventListener("click", async () => {
    removing.disabled = true;
    failed.textContent = "";
    try {
      await remove();
    } catch (error) {
      failed.textContent = words(error);
    }
    removing.disabled = false;
  });
  made.append(element("h2", { id: "room-dialog" }, heading), inner, failed);
  show(made);
  return close;
}
