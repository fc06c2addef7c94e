"""The style sheet of the report."""

import base64
import hashlib

from tidings.bench.drawing_colours import ACCENT, ROLES, dark_rules

_DARK = dark_rules()


def _variables(side: str) -> str:
    pairs = {name: getattr(colour, side) for name, colour in ROLES.items()} | {
        "accent": getattr(ACCENT, side)
    }
    return "".join(f"--{name}:{value};" for name, value in pairs.items())


STYLE = f"""
:root{{color-scheme:light dark;{_variables("light")}
--raised:#f6f8fa;--tint:#e9f1fd;--good:#06643f;--good-tint:#dff5ea;--bad:#a40e26;--bad-tint:#fde8ea;
--warn-tint:#fff5d6;--warn:#7a5200}}
@media screen and (prefers-color-scheme:dark){{:root{{{_variables("dark")}
--raised:#151b23;--tint:#132a47;--good:#4fd39a;--good-tint:#0f2d22;--bad:#ff8a96;--bad-tint:#3a1519;
--warn-tint:#33270a;--warn:#e8c04a}}
{_DARK}}}
*{{box-sizing:border-box}}
html{{-webkit-text-size-adjust:100%}}
body{{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}}
main{{max-width:1080px;margin:0 auto;padding:40px 40px 64px}}
.kicker{{margin:0;color:var(--muted);font-size:13px;font-weight:600;letter-spacing:.08em;
text-transform:uppercase}}
h1{{margin:2px 0 6px;font-size:40px;line-height:1.15;letter-spacing:-.02em}}
h2{{margin:52px 0 14px;padding-top:14px;border-top:1px solid var(--faint);font-size:22px;line-height:1.3}}
h3{{margin:0 0 10px;font-size:17px;line-height:1.35}}
p{{margin:0 0 12px}}
.lead{{max-width:70ch;color:var(--muted);font-size:18px}}
.verdict{{margin:22px 0 0;padding:14px 18px;border-left:4px solid var(--good);border-radius:4px;
background:var(--good-tint)}}
.verdict.broken{{border-color:var(--bad);background:var(--bad-tint)}}
.verdict.none{{border-color:var(--neutral);background:var(--raised)}}
.verdict strong{{font-weight:650}}
a{{color:var(--accent)}}
.scroll{{position:relative;overflow-x:auto;margin:0 0 22px;border:1px solid var(--faint);border-radius:8px}}
.scroll:focus-visible{{outline:2px solid var(--accent);outline-offset:2px}}
table{{width:100%;border-collapse:separate;border-spacing:0;font-size:13.5px;line-height:1.4;font-variant-numeric:tabular-nums}}
th,td{{padding:7px 10px;text-align:right;white-space:nowrap;vertical-align:baseline}}
th:first-child{{text-align:left;white-space:normal;min-width:11em}}
.words{{min-width:17em;text-align:left;white-space:normal;overflow-wrap:anywhere}}
thead th{{vertical-align:bottom;white-space:normal;color:var(--muted);font-size:13px;font-weight:600;
border-bottom:1px solid var(--neutral)}}
tbody th{{font-weight:500}}
tbody tr+tr>*{{border-top:1px solid var(--faint)}}
tr.ours>*{{background:var(--tint);font-weight:650}}
tr.ours>th{{box-shadow:inset 3px 0 var(--accent)}}
b.best{{font-weight:700;border-bottom:2px solid var(--good)}}
.legend{{margin:-10px 0 22px;color:var(--muted);font-size:13px}}
figure{{margin:0 0 44px}}
figure svg{{display:block;width:100%;height:auto;font-family:inherit;font-variant-numeric:tabular-nums;
overflow:visible}}
.narrow,.keys{{display:none}}
.item{{transition:opacity .12s}}
svg:has(.item:hover) .item:not(:hover){{opacity:.25}}
.keys{{flex-wrap:wrap;gap:4px 16px;margin:10px 0 0;padding:0;list-style:none;font-size:13px}}
.keys li{{display:flex;align-items:center;gap:7px}}
.keys svg{{flex:none;width:26px;height:8px}}
.keys .ours{{font-weight:650}}
figcaption{{margin-top:10px;color:var(--muted);font-size:13px}}
details{{margin-top:8px;font-size:14px}}
summary{{width:fit-content;padding:4px 0;color:var(--accent);cursor:pointer}}
details .scroll{{margin-top:8px;max-height:420px;overflow:auto}}
details thead th{{position:sticky;top:0;background:var(--paper)}}
.promises,.warnings{{margin:0;padding:0;list-style:none}}
.promises li{{display:grid;grid-template-columns:5.2em 3fr 2fr;gap:2px 14px;padding:7px 0;
border-top:1px solid var(--faint)}}
.promises li:first-child{{border-top:0}}
.mark{{align-self:start;justify-self:start;padding:1px 9px;border-radius:99px;background:var(--good-tint);
color:var(--good);font-size:13px;font-weight:650}}
.broken>.mark{{background:var(--bad-tint);color:var(--bad)}}
.found{{color:var(--muted);font-size:14px;text-align:right;overflow-wrap:anywhere}}
.broken .found{{color:var(--bad)}}
.warnings li{{margin:0 0 8px;padding:9px 14px;border-radius:4px;border-left:4px solid var(--warn);
background:var(--warn-tint);overflow-wrap:anywhere}}
pre{{margin:0 0 16px;padding:12px 16px;border-radius:8px;background:var(--raised);
font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;white-space:pre-wrap;
overflow-wrap:anywhere}}
dl{{display:grid;grid-template-columns:minmax(8em,max-content) 1fr;gap:5px 20px;margin:0 0 16px;
font-size:14px}}
dt{{color:var(--muted)}}
dd{{margin:0;overflow-wrap:anywhere}}
.reading li{{margin-bottom:8px;max-width:75ch}}
.reading ul{{padding-left:20px;margin:0}}
.hidden{{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}}
@media screen and (max-width:680px){{
main{{padding:24px 16px 40px}}
h1{{font-size:32px}}
h2{{margin-top:38px}}
.lead{{font-size:16px}}
.wide{{display:none!important}}
.narrow{{display:block!important}}
.keys{{display:flex}}
th,td{{padding:7px 9px}}
table{{font-size:13px}}
tbody th,thead th:first-child{{position:sticky;left:0;background:var(--paper);min-width:8.5em;max-width:11em}}
tr.ours>th{{background:var(--tint)}}
dl{{grid-template-columns:1fr;gap:0}}
dd{{margin-bottom:8px}}
.promises li{{grid-template-columns:5.2em 1fr}}
.found{{grid-column:2;text-align:left}}
}}
@media print{{
:root{{color-scheme:light}}
body{{font-size:11pt}}
main{{max-width:none;padding:0}}
details{{display:none}}
figure,tr,li{{break-inside:avoid}}
h2,h3{{break-after:avoid}}
.scroll{{overflow:visible;border:0}}
th,td{{padding:3px 5px}}
table{{font-size:8pt}}
thead th{{font-size:7.5pt}}
tr.ours>*,.verdict,.mark{{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
}}
"""

# The only style that the page may use, by its hash: with that, nothing on it loads or runs.
POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    + "'"
)
