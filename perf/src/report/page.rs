//! One HTML page that needs nothing but itself.

/// A page in the making.
pub(crate) struct Page(String);

const STYLE: &str = "body{font:15px/1.5 sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}\
table{border-collapse:collapse;font-size:13px;display:block;overflow-x:auto}\
td,th{border-bottom:1px solid #ddd;padding:.3em .6em;text-align:right;vertical-align:top}\
td:first-child,th:first-child,td:nth-child(2),td:nth-child(10),td:nth-child(11){text-align:left}\
dt{font-weight:bold;float:left;clear:left;width:7em}dd{margin-left:8em}svg{max-width:60em;width:100%}";

/// As it stands in HTML and SVG.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

impl Page {
    pub(crate) fn new(title: &str) -> Self {
        let title = escape(title);
        Self(format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title><style>{STYLE}</style><h1>{title}</h1>"
        ))
    }

    pub(crate) fn heading(&mut self, text: &str) {
        self.0.push_str(&format!("<h2>{}</h2>", escape(text)));
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.0.push_str(&format!("<p>{}</p>", escape(text)));
    }

    pub(crate) fn facts(&mut self, facts: &[(&str, String)]) {
        let of = |(name, value): &(&str, String)| {
            format!("<dt>{}</dt><dd>{}</dd>", escape(name), escape(value))
        };
        self.0.push_str(&format!(
            "<dl>{}</dl>",
            facts.iter().map(of).collect::<String>()
        ));
    }

    /// A chart, as it is.
    pub(crate) fn chart(&mut self, svg: &str) {
        self.0.push_str(svg);
    }

    pub(crate) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        let cells = |tag: &str, cells: &mut dyn Iterator<Item = &str>| {
            let each = cells.map(|cell| format!("<{tag}>{}</{tag}>", escape(cell)));
            format!("<tr>{}</tr>", each.collect::<String>())
        };
        self.0.push_str("<table>");
        self.0.push_str(&cells("th", &mut head.iter().copied()));
        for row in rows {
            self.0
                .push_str(&cells("td", &mut row.iter().map(String::as_str)));
        }
        self.0.push_str("</table>");
    }

    pub(crate) fn end(mut self) -> String {
        self.0.push_str("</html>\n");
        self.0
    }
}
