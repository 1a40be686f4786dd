// Reads the small expressions in the frame's attributes (x-data, x-on, x-show …) instead of compiling them.
// The frame's library would make functions out of text, which needs 'unsafe-eval'; with this reader the
// Content-Security-Policy allows scripts from our own files only, on the admin's pages as well.
(function () {
  "use strict";

  const TOKEN = /\s*(?:(\d+(?:\.\d+)?)|("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|([A-Za-z_$][\w$]*)|(=>|===|!==|==|!=|<=|>=|&&|\|\||\?\.|[-+*/%<>!?:;,.()[\]{}=]))/y;
  const POWER = { "||": 1, "&&": 2, "==": 3, "!=": 3, "===": 3, "!==": 3, "<": 4, ">": 4, "<=": 4, ">=": 4, "+": 5, "-": 5, "*": 6, "/": 6, "%": 6 };
  const WORDS = { true: true, false: false, null: null, undefined: undefined };
  const REFUSED = new Set(["constructor", "prototype", "__proto__", "eval", "Function"]);
  const ESCAPES = { n: "\n", t: "\t", r: "\r" };

  function tokens(text) {
    const found = [];
    TOKEN.lastIndex = 0;
    const end = text.trimEnd().length;
    while (TOKEN.lastIndex < end) {
      const at = TOKEN.lastIndex;
      const match = TOKEN.exec(text);
      if (!match) throw new SyntaxError("Cannot read “" + text.slice(at) + "”");
      if (match[1] !== undefined) found.push({ kind: "value", value: Number(match[1]) });
      else if (match[2] !== undefined) found.push({ kind: "value", value: unquoted(match[2]) });
      else if (match[3] !== undefined) found.push({ kind: "name", value: match[3] });
      else found.push({ kind: "sign", value: match[4] });
    }
    return found;
  }

  function unquoted(text) {
    return text.slice(1, -1).replace(/\\(.)/g, (_, letter) => ESCAPES[letter] || letter);
  }

  // A parsed node is a function of a scope. What can be assigned to also has `set` and, for a method's `this`, `owner`.
  function parse(text) {
    const list = tokens(text);
    let at = 0;

    const is = (value) => at < list.length && list[at].kind !== "value" && list[at].value === value;
    const take = (value) => is(value) && Boolean(++at);
    const need = (value) => {
      if (!take(value)) throw new SyntaxError("“" + value + "” is missing in “" + text + "”");
    };

    function statements(end) {
      const all = [];
      while (at < list.length && !is(end)) if (!take(";")) all.push(statement());
      return (scope) => all.reduce((_, one) => one(scope), undefined);
    }

    // Braces after a condition or an arrow hold statements; elsewhere they are an object.
    function block() {
      if (!take("{")) return statement();
      const inner = statements("}");
      need("}");
      return inner;
    }

    function statement() {
      if (!take("if")) return expression();
      need("(");
      const test = expression();
      need(")");
      const yes = block();
      take(";");
      const no = take("else") ? block() : () => undefined;
      return (scope) => (test(scope) ? yes(scope) : no(scope));
    }

    function expression() {
      const names = arrow();
      if (names) {
        const body = block();
        return (scope) => (...given) => body(scope.within(Object.fromEntries(names.map((name, place) => [name, given[place]]))));
      }
      const left = binary(0);
      if (take("=")) {
        if (!left.set) throw new SyntaxError("Nothing can be assigned to in “" + text + "”");
        const right = expression();
        return (scope) => left.set(scope, right(scope));
      }
      if (!take("?")) return left;
      const yes = expression();
      need(":");
      const no = expression();
      return (scope) => (left(scope) ? yes(scope) : no(scope));
    }

    // The names of an arrow function's parameters, if one begins here.
    function arrow() {
      const start = at;
      const names = [];
      if (take("(")) {
        while (at < list.length && list[at].kind === "name") {
          names.push(list[at++].value);
          take(",");
        }
        if (take(")") && take("=>")) return names;
      } else if (at < list.length && list[at].kind === "name") {
        names.push(list[at++].value);
        if (take("=>")) return names;
      }
      at = start;
      return null;
    }

    function binary(least) {
      let left = unary();
      while (at < list.length && list[at].kind === "sign" && POWER[list[at].value] > least) {
        const sign = list[at++].value;
        left = joined(sign, left, binary(POWER[sign]));
      }
      return left;
    }

    function unary() {
      if (take("!")) return ((inner) => (scope) => !inner(scope))(unary());
      if (take("-")) return ((inner) => (scope) => -inner(scope))(unary());
      if (take("new")) {
        const made = postfix(primary(), false);
        const given = take("(") ? series(")") : [];
        return postfix((scope) => new (made(scope))(...given.map((one) => one(scope))), true);
      }
      return postfix(primary(), true);
    }

    function postfix(left, calls) {
      for (;;) {
        if (take(".")) left = member(left, ((name) => () => name)(list[at++].value), false);
        else if (take("?.")) left = member(left, ((name) => () => name)(list[at++].value), true);
        else if (take("[")) {
          const key = expression();
          need("]");
          left = member(left, key, false);
        } else if (calls && take("(")) left = called(left, series(")"));
        else return left;
      }
    }

    function primary() {
      if (at >= list.length) throw new SyntaxError("“" + text + "” ends too early");
      const token = list[at++];
      if (token.kind === "value") return () => token.value;
      if (token.kind === "name") return token.value in WORDS ? () => WORDS[token.value] : named(token.value);
      if (token.value === "(") {
        const inner = expression();
        need(")");
        return inner;
      }
      if (token.value === "[") return ((all) => (scope) => all.map((one) => one(scope)))(series("]"));
      if (token.value === "{") return object();
      throw new SyntaxError("“" + token.value + "” is not expected in “" + text + "”");
    }

    function series(end) {
      const all = [];
      while (!take(end)) {
        all.push(expression());
        if (!is(end)) need(",");
      }
      return all;
    }

    function object() {
      const pairs = [];
      while (!take("}")) {
        const key = String(list[at++].value);
        pairs.push([key, take(":") ? expression() : named(key)]);
        if (!is("}")) need(",");
      }
      return (scope) => Object.fromEntries(pairs.map(([key, value]) => [key, value(scope)]));
    }

    const whole = statements(undefined);
    return whole;
  }

  function allowed(key) {
    if (REFUSED.has(String(key))) throw new TypeError("“" + String(key) + "” is not for expressions");
    return key;
  }

  function named(name) {
    const node = (scope) => scope.get(allowed(name));
    node.set = (scope, value) => scope.set(allowed(name), value);
    node.owner = (scope) => scope.ownerOf(name);
    return node;
  }

  function member(left, key, optional) {
    const node = (scope) => {
      const owner = left(scope);
      return optional && (owner === null || owner === undefined) ? undefined : owner[allowed(key(scope))];
    };
    node.set = (scope, value) => (left(scope)[allowed(key(scope))] = value);
    node.owner = left;
    return node;
  }

  function called(left, given) {
    return (scope) => {
      const owner = left.owner ? left.owner(scope) : undefined;
      return left(scope).apply(owner, given.map((one) => one(scope)));
    };
  }

  function joined(sign, left, right) {
    switch (sign) {
      case "||": return (scope) => left(scope) || right(scope);
      case "&&": return (scope) => left(scope) && right(scope);
      // The frame's own texts say ==, and mean what JavaScript means by it.
      case "==": return (scope) => left(scope) == right(scope); // eslint-disable-line eqeqeq
      case "!=": return (scope) => left(scope) != right(scope); // eslint-disable-line eqeqeq
      case "===": return (scope) => left(scope) === right(scope);
      case "!==": return (scope) => left(scope) !== right(scope);
      case "<": return (scope) => left(scope) < right(scope);
      case ">": return (scope) => left(scope) > right(scope);
      case "<=": return (scope) => left(scope) <= right(scope);
      case ">=": return (scope) => left(scope) >= right(scope);
      case "+": return (scope) => left(scope) + right(scope);
      case "-": return (scope) => left(scope) - right(scope);
      case "*": return (scope) => left(scope) * right(scope);
      case "/": return (scope) => left(scope) / right(scope);
      default: return (scope) => left(scope) % right(scope);
    }
  }

  // Names are looked for in what the expression was given, in the data of its elements, then in the window.
  function scopeOf(data) {
    const holder = (name) => (name in data ? data : name in window ? window : null);
    return {
      get(name) {
        const owner = holder(name);
        if (!owner) throw new ReferenceError(name + " is not defined");
        return owner[name];
      },
      set(name, value) {
        (name in data ? data : window)[name] = value;
        return value;
      },
      ownerOf: (name) => holder(name) || undefined,
      within: (more) => scopeOf(Alpine.mergeProxies([more, data])),
    };
  }

  const known = new Map();

  function compiled(text) {
    if (!known.has(text)) known.set(text, parse(text));
    return known.get(text);
  }

  function evaluator(element, expression) {
    return function (receive = () => undefined, { scope = {}, params = [] } = {}) {
      const data = Alpine.mergeProxies([scope, { $el: element }, ...Alpine.closestDataStack(element)]);
      try {
        let answer = typeof expression === "function" ? expression : compiled(expression)(scopeOf(data));
        // A handler may be named without being called, and may answer later.
        if (typeof answer === "function") answer = answer.apply(data, params);
        if (answer instanceof Promise) answer.then(receive);
        else receive(answer);
      } catch (error) {
        error.message += " (in “" + String(expression).trim().slice(0, 120) + "”)";
        setTimeout(() => { throw error; });
      }
    };
  }

  document.addEventListener("alpine:init", () => Alpine.setEvaluator(evaluator));
})();
