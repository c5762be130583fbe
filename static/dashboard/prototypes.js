// Runs before all other scripts: without this, `table["__proto__"]` is not an entry of a table but the prototype of all
// objects, and a metric or a project of that name ends the index by which Dash's dropdowns search their choices.
// `Object.getPrototypeOf`, which Dash, React and Plotly use where it exists, stays.
delete Object.prototype.__proto__;
