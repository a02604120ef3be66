// Tables and code that scroll get the keyboard focus, so that arrow keys scroll them.
const focus = () => {
  for (const region of document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset .output")) region.tabIndex = 0
}
new MutationObserver(focus).observe(document.body, { childList: true, subtree: true })
focus()
