// The texts of the line board.

import { texts } from "../../lib/i18n.js";

export const all = {
  en: {
    title: "Line board", loading: "Loading …", try_again: "Try again", search: "Search", cancel: "Cancel",
    no_such_group: "This group is not on the line board. Ask an administrator which group your account belongs to.",
    not_live: "What changes is not shown by itself at the moment: {why}.",

    groups: "Groups", group: "Group", new_group: "New group", search_groups: "Search groups",
    no_groups: "There are no groups yet. Make one, and give its code to the devices.",
    no_group_found: "No group matches.",
    groups_shown: "{shown} of {count} groups are shown: search for the others.",

    code: "Activation code", no_code: "none", copy: "Copy", copied: "The code has been copied.",
    copy_yourself: "The code is selected: copy it with Ctrl+C.",
    new_code: "New code", disable: "Disable", edit: "Edit", day_of: "Today begins at midnight in {zone}.",
    renew_question: "Give “{name}” a new code?", renew_done: "The group has a new code.",
    disable_question: "Disable the code of “{name}”?", disable_done: "The code is disabled.",
    devices_leave: "Devices that came in by the present one are disconnected. Accounts and figures stay.",
    not_done: "That did not work",
    edit_title: "Edit group", group_name: "Name", time_zone: "Time zone",
    time_zone_hint: "Where the group's day begins, for today's figures: Asia/Shanghai, for example.",
    save: "Save", create: "Create",

    online_accounts: "Online", total_accounts: "Accounts", today_incoming: "Incoming today",
    today_duplicate: "Duplicates today", total_incoming: "Incoming in all", duplicate_incoming: "Duplicates in all",
    per_minute: "Incoming per minute", lines: "Incoming", duplicates: "Duplicates",
    course: "{name}, since this page was opened",

    accounts: "Accounts", online: "Online", offline: "Offline",
    column_name: "Account", column_online_status: "Status", column_total_incoming: "Incoming",
    column_today_incoming: "Today", column_duplicate_incoming: "Duplicates", column_today_duplicate: "Dupl. today",
    search_accounts: "Search accounts", show_more: "Show more",
    accounts_shown: "{shown} of {count} accounts are shown.",
    most_accounts: "The group has more than {count} accounts: the first {count} are here.",
    no_accounts: "There are no accounts yet. A device that comes in with the code {code} reports its own.",
    no_code_accounts: "There are no accounts yet, and no code by which a device could come in.",
    no_account_found: "No account matches.",

    incoming: "Incoming lines", pause: "Pause", resume: "Resume", waiting: "{count} more since",
    no_lines: "Nobody has written yet. Lines appear here as they come in.",
    duplicate: "Duplicate", came: "New incoming lines: {count}",

    records: "Customers and follow-ups", records_hint: "As the devices have reported them, the newest first.",
    customers: "Customers", follow_ups: "Follow-ups", customer: "Customer", account: "Account", details: "Details",
    content: "What was done", changed: "Changed", pages: "Pages of this list", newer: "Newer", older: "Older",
    see_follow_ups: "See the follow-ups", of_customer: "Follow-ups of customer {id}", of_all: "Show all",
    no_customers: "No device has reported a customer yet.", no_follow_ups: "No follow-ups have been reported yet.",
  },
  zh: {
    title: "进线看板", loading: "加载中…", try_again: "重试", search: "搜索", cancel: "取消",
    no_such_group: "看板中没有这个分组。请向管理员确认您的账号属于哪个分组。",
    not_live: "当前无法实时更新：{why}。",

    groups: "分组", group: "分组", new_group: "新建分组", search_groups: "搜索分组",
    no_groups: "还没有分组。请新建一个，并将激活码交给设备使用。",
    no_group_found: "没有匹配的分组。", groups_shown: "显示 {count} 个分组中的 {shown} 个，其余请搜索。",

    code: "激活码", no_code: "无", copy: "复制", copied: "激活码已复制。",
    copy_yourself: "激活码已选中，请按 Ctrl+C 复制。",
    new_code: "更换激活码", disable: "停用", edit: "编辑", day_of: "“今日”按 {zone} 的零点起算。",
    renew_question: "要为“{name}”更换激活码吗？", renew_done: "分组已启用新的激活码。",
    disable_question: "要停用“{name}”的激活码吗？", disable_done: "激活码已停用。",
    devices_leave: "使用当前激活码的设备会断开连接。账号和统计数据不受影响。",
    not_done: "操作失败",
    edit_title: "编辑分组", group_name: "名称", time_zone: "时区",
    time_zone_hint: "决定“今日”从何时开始，例如 Asia/Shanghai。",
    save: "保存", create: "新建",

    online_accounts: "在线账号", total_accounts: "账号总数", today_incoming: "今日进线",
    today_duplicate: "今日重复", total_incoming: "累计进线", duplicate_incoming: "累计重复",
    per_minute: "每分钟进线", lines: "进线", duplicates: "重复",
    course: "{name}（自打开本页起）",

    accounts: "账号", online: "在线", offline: "离线",
    column_name: "账号", column_online_status: "状态", column_total_incoming: "进线",
    column_today_incoming: "今日", column_duplicate_incoming: "重复", column_today_duplicate: "今日重复",
    search_accounts: "搜索账号", show_more: "显示更多",
    accounts_shown: "显示 {count} 个账号中的 {shown} 个。",
    most_accounts: "该分组的账号超过 {count} 个，此处为前 {count} 个。",
    no_accounts: "还没有账号。设备使用激活码 {code} 连接后会上报账号。",
    no_code_accounts: "还没有账号，也没有可供设备连接的激活码。",
    no_account_found: "没有匹配的账号。",

    incoming: "实时进线", pause: "暂停", resume: "继续", waiting: "又有 {count} 条",
    no_lines: "还没有进线。新的进线会立即显示在这里。",
    duplicate: "重复", came: "新进线 {count} 条",

    records: "客户与跟进记录", records_hint: "由设备上报，最新的在前。",
    customers: "客户", follow_ups: "跟进记录", customer: "客户", account: "账号", details: "详情",
    content: "跟进内容", changed: "更新时间", pages: "列表翻页", newer: "较新", older: "较早",
    see_follow_ups: "查看跟进记录", of_customer: "客户 {id} 的跟进记录", of_all: "显示全部",
    no_customers: "还没有设备上报客户。", no_follow_ups: "还没有跟进记录。",
  },
  ja: {
    title: "着信ボード", loading: "読み込み中…", try_again: "再試行", search: "検索", cancel: "キャンセル",
    no_such_group: "このグループは着信ボードにありません。所属グループを管理者に確認してください。",
    not_live: "現在、変更は自動で表示されません：{why}。",

    groups: "グループ", group: "グループ", new_group: "グループを作成", search_groups: "グループを検索",
    no_groups: "グループはまだありません。作成して、コードを端末に設定してください。",
    no_group_found: "該当するグループはありません。",
    groups_shown: "{count} 件中 {shown} 件を表示しています。他は検索してください。",

    code: "認証コード", no_code: "なし", copy: "コピー", copied: "コードをコピーしました。",
    copy_yourself: "コードを選択しました。Ctrl+C でコピーしてください。",
    new_code: "コードを再発行", disable: "無効にする", edit: "編集", day_of: "「本日」は {zone} の午前 0 時に始まります。",
    renew_question: "「{name}」のコードを再発行しますか？", renew_done: "新しいコードを発行しました。",
    disable_question: "「{name}」のコードを無効にしますか？", disable_done: "コードを無効にしました。",
    devices_leave: "現在のコードで接続している端末は切断されます。アカウントと集計は残ります。",
    not_done: "実行できませんでした",
    edit_title: "グループを編集", group_name: "名前", time_zone: "タイムゾーン",
    time_zone_hint: "「本日」の集計の区切りになります。例：Asia/Tokyo",
    save: "保存", create: "作成",

    online_accounts: "オンライン", total_accounts: "アカウント数", today_incoming: "本日の着信",
    today_duplicate: "本日の重複", total_incoming: "着信の累計", duplicate_incoming: "重複の累計",
    per_minute: "1 分あたりの着信", lines: "着信", duplicates: "重複",
    course: "{name}（このページを開いてから）",

    accounts: "アカウント", online: "オンライン", offline: "オフライン",
    column_name: "アカウント", column_online_status: "状態", column_total_incoming: "着信",
    column_today_incoming: "本日", column_duplicate_incoming: "重複", column_today_duplicate: "本日の重複",
    search_accounts: "アカウントを検索", show_more: "さらに表示",
    accounts_shown: "{count} 件中 {shown} 件を表示しています。",
    most_accounts: "アカウントが {count} 件を超えています。最初の {count} 件を表示しています。",
    no_accounts: "アカウントはまだありません。コード {code} で接続した端末が報告すると表示されます。",
    no_code_accounts: "アカウントはまだなく、端末が接続できるコードもありません。",
    no_account_found: "該当するアカウントはありません。",

    incoming: "着信", pause: "一時停止", resume: "再開", waiting: "ほか {count} 件",
    no_lines: "着信はまだありません。届くとここに表示されます。",
    duplicate: "重複", came: "新しい着信 {count} 件",

    records: "顧客とフォローアップ", records_hint: "端末から報告されたものを新しい順に表示します。",
    customers: "顧客", follow_ups: "フォローアップ", customer: "顧客", account: "アカウント", details: "詳細",
    content: "対応内容", changed: "更新日時", pages: "一覧のページ送り", newer: "新しい方へ", older: "古い方へ",
    see_follow_ups: "フォローアップを見る", of_customer: "顧客 {id} のフォローアップ", of_all: "すべて表示",
    no_customers: "顧客の報告はまだありません。", no_follow_ups: "フォローアップの報告はまだありません。",
  },
};

export const t = texts(all);
