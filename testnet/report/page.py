"""The one door to Jinja2: sections and their pictures as one HTML file that needs nothing else.

Whatever comes from files and nodes goes through the template's escaping. The page has no script and asks for
nothing over the network, which its security policy says, too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from p2pai.primitives.errors import Unavailable
from testnet.report.canvas import draw_svg
from testnet.report.picture import Mark, Picture, Section, Table

try:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup
except ImportError as error:
    raise Unavailable("a report needs Jinja2, which is not installed: pip install 'p2pai[report]'") from error

_HERE: Final = Path(__file__).parent
_NOTHING: Final = Markup("")


@dataclass(frozen=True)
class _Shown:
    number: int
    picture: Picture
    svgs: Mapping[str, Markup]
    """By width."""


@dataclass(frozen=True)
class _Drawn:
    name: str
    title: str
    pictures: tuple[_Shown, ...]


def render(
    title: str,
    names: Sequence[str],
    subjects: Sequence[Any],
    sections: Sequence[Section],
    parts: Mapping[str, tuple[str, Mapping[str, Any]]],
    footer: str,
) -> str:
    """Return a page.

    Args:
      title: its headline.
      names: of the subjects, as the reader shall tell them apart.
      subjects: what the sections take their pictures of; several stand side by side, on equal axes.
      sections: in order.
      parts: what stands above (`head`) and below (`tail`): a template's name and its values.
      footer: one line.
    """
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=_clean,
    )
    filled = {
        place: Markup(environment.get_template(template).render(values))  # noqa: S704
        for place, (template, values) in parts.items()
    }
    return environment.get_template("page.html.j2").render(
        title=title,
        names=names,
        columns=len(subjects),
        sections=[_draw(section, subjects) for section in sections],
        style=Markup((_HERE / "style.css").read_text("utf-8")),  # noqa: S704
        swatch=_swatch,
        table=partial(_table, environment),
        footer=footer,
        **{"head": _NOTHING, "tail": _NOTHING, **filled},
    )


def _clean(value: Any) -> Any:  # noqa: ANN401
    """Replace control characters, which a page must not have; what is markup by now is clean."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in value)


def _draw(section: Section, subjects: Sequence[Any]) -> _Drawn:
    pictures = [section.take(subject) for subject in subjects]
    drawable = [picture for picture in pictures if picture.draw is not None]
    draws: list[Callable[[Any], None]] = [picture.draw for picture in drawable if picture.draw is not None]
    height = max((picture.height for picture in drawable), default=0)
    widths = ("wide" if len(subjects) == 1 else "half", "narrow")
    svgs = {width: draw_svg(section.name, draws, height, width, shared=True) for width in widths}
    shown = []
    for number, picture in enumerate(pictures):
        mine: dict[str, Markup] = {}
        if picture.draw is not None:
            place = drawable.index(picture)
            mine = {width: Markup(drawn[place]) for width, drawn in svgs.items()}  # noqa: S704
        shown.append(_Shown(number, picture, mine))
    return _Drawn(section.name, section.title, tuple(shown))


_SHAPES: Final = {
    "box": '<rect x="1" y="2" width="12" height="10" fill="{0}"/>',
    "striped": '<rect x="1" y="2" width="12" height="10" fill="{0}"/>'
    '<path d="M3 12l8-10" stroke="var(--paper)"/>',
    "lined": '<rect x="1" y="2" width="12" height="10" fill="{0}"/>'
    '<path d="M1 5h12M1 9h12" stroke="var(--paper)"/>',
    "crossed": '<rect x="1" y="2" width="12" height="10" fill="{0}"/>'
    '<path d="M3 12l8-10M3 2l8 10" stroke="var(--paper)"/>',
    "hollow": '<rect x="1.5" y="2.5" width="11" height="9" fill="none" stroke="{0}"/>',
    "line": '<path d="M0 7h14" stroke="{0}" stroke-width="2.5"/>',
    "square": '<rect x="2.5" y="2.5" width="9" height="9" fill="{0}"/>',
    "triangle": '<path d="M7 2l5.5 10h-11z" fill="{0}"/>',
    "dot": '<circle cx="7" cy="7" r="5" fill="{0}"/>',
    "ring": '<circle cx="7" cy="7" r="4.5" fill="none" stroke="{0}" stroke-width="1.5"/>',
}


def _swatch(mark: Mark) -> Markup:
    colour = "var(--muted)" if mark.colour is None else f"var(--s{mark.colour})"
    shape = _SHAPES[mark.shape].format(colour)
    return Markup(f'<svg width="14" height="14" viewBox="0 0 14 14">{shape}</svg>')  # noqa: S704


_TABLE: Final = """<div class="scroll"><table><thead><tr>
{%- for heading in headings %}<th scope="col"{% if heading.endswith('>') %} class="number"{% endif %}>
{{- heading.removesuffix('>') }}</th>{% endfor %}</tr></thead><tbody>
{% for row in rows %}<tr>{% for cell in row %}
{%- set is_number = headings[loop.index0].endswith('>') %}<td{% if is_number %} class="number"{% endif %}>
{{- cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>"""


def _table(environment: Environment, table: Table) -> Markup:
    filled = environment.from_string(_TABLE).render(headings=table.headings, rows=table.rows)
    return Markup(filled)  # noqa: S704
