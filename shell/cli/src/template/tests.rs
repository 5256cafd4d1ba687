//! Results as Go's text/template gives them.

use super::Template;
use crate::value::Value;

fn data() -> Value {
    Value::parse(
        br#"{"Name":"web","Count":3,"Ratio":0.5,"On":true,"Off":false,"None":null,"Empty":"",
            "Labels":{"b":"2","a":"1"},"List":["x","y","z"],"Deep":{"Er":{"Est":"yes"}},
            "Nodes":[{"ID":"n1","Up":true},{"ID":"n2","Up":false}]}"#,
    )
    .unwrap()
}

fn render(template: &str) -> Result<String, String> {
    Template::parse(template)?.render(&data())
}

#[test]
fn fields_pipes_and_functions() {
    for (template, expected) in [
        ("plain", "plain"),
        ("{{.Name}}:{{.Count}}:{{.On}}", "web:3:true"),
        ("{{ .Deep.Er.Est }}", "yes"),
        ("{{(.Deep).Er.Est}}", "yes"),
        ("{{.Name | upper}}", "WEB"),
        ("{{upper .Name | lower | title}}", "Web"),
        ("{{json .Labels}}", r#"{"b":"2","a":"1"}"#),
        ("{{.Labels}} {{.List}}", "map[a:1 b:2] [x y z]"),
        (r#"{{join .List ", "}}"#, "x, y, z"),
        (r#"{{index (split "a-b-c" "-") 1}}"#, "b"),
        (r#"{{index .Labels "a"}}{{index .List 2}}"#, "1z"),
        ("{{len .List}}", "3"),
        (
            r#"{{printf "%-5s|%3d|%q|%.2f|%v|%05d|%%" .Name .Count .Name .Ratio .On 42}}"#,
            r#"web  |  3|"web"|0.50|true|00042|%"#,
        ),
        ("{{println .Name .Count}}", "web 3\n"),
        ("{{print 1 2 .Name}}", "1 2web"),
        (r#"{{pad .Name 1 2}}|{{truncate .Name 2}}"#, " web  |we"),
        ("{{.None}}", "<no value>"),
        ("{{`raw \\n`}}", "raw \\n"),
        ("{{/* nothing */}}a", "a"),
        ("a {{- \"b\" -}} c", "abc"),
    ] {
        assert_eq!(render(template).unwrap(), expected, "{template}");
    }
}

#[test]
fn control() {
    for (template, expected) in [
        ("{{if .On}}a{{else}}b{{end}}", "a"),
        ("{{if .Empty}}a{{else if .Off}}b{{else}}c{{end}}", "c"),
        ("{{if and .On (eq .Name \"web\")}}yes{{end}}", "yes"),
        ("{{if or .Off .Empty}}yes{{else}}no{{end}}", "no"),
        ("{{if not .Off}}x{{end}}", "x"),
        ("{{if eq .Count 1 2 3}}in{{end}}{{if ne .Count 4}}!{{end}}", "in!"),
        ("{{if gt .Count 2}}>{{end}}{{if le .Ratio 0.5}}<={{end}}", "><="),
        ("{{range .List}}<{{.}}>{{end}}", "<x><y><z>"),
        ("{{range $i, $v := .List}}{{$i}}={{$v}};{{end}}", "0=x;1=y;2=z;"),
        ("{{range $k, $v := .Labels}}{{$k}}{{$v}}{{end}}", "a1b2"),
        ("{{range .None}}a{{else}}empty{{end}}", "empty"),
        ("{{range .Nodes}}{{if .Up}}{{.ID}} of {{$.Name}}{{end}}{{end}}", "n1 of web"),
        ("{{with .Deep}}{{.Er.Est}}{{end}}{{with .Empty}}a{{else}}b{{end}}", "yesb"),
        ("{{$x := .Name}}{{$x}}{{$x = \"y\"}}{{$x}}", "weby"),
        ("{{with $n := .Name}}{{$n}}{{end}}", "web"),
    ] {
        assert_eq!(render(template).unwrap(), expected, "{template}");
    }
}

#[test]
fn errors_are_gos() {
    assert_eq!(
        render("ab {{.Nope}}").unwrap_err(),
        "template: :1:5: executing \"\" at <.Nope>: map has no entry for key \"Nope\""
    );
    assert!(render("{{.Name.Nope}}").unwrap_err().contains("can't evaluate field Nope"));
    for template in
        ["{{", "{{end}}", "{{if .On}}", "{{nope .Name}}", "{{.Name | }}", "{{\"a}}", "{{(.Name}}", "{{upper .Count}}"]
    {
        assert!(render(template).is_err(), "{template}");
    }
}
