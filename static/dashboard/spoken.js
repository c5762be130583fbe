// What screen readers are told of parts that Dash and Plotly build: Dash calls a row of radio buttons a list box of
// options, in which there are radio buttons; Plotly's drawings read out the numbers along their axes.
(function () {
  "use strict";

  function mend(root) {
    function each(selector, act) {
      if (root.matches(selector)) act(root);
      root.querySelectorAll(selector).forEach(act);
    }
    each(".choice[role=listbox]", function (list) {
      list.setAttribute("role", "presentation");
    });
    each(".choice [role=option]", function (option) {
      option.removeAttribute("role");
      option.removeAttribute("aria-selected");
    });
    // The box of the chart says what is to be seen.
    each("[role=figure][aria-label] svg.main-svg", function (drawing) {
      drawing.setAttribute("aria-hidden", "true");
    });
  }

  new MutationObserver(function (changes) {
    changes.forEach(function (change) {
      change.addedNodes.forEach(function (node) {
        if (node.nodeType === Node.ELEMENT_NODE && node.isConnected) mend(node);
      });
    });
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
