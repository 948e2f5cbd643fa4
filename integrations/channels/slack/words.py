"""What is written on buttons and in the form, in each language. The messages themselves are templates."""

from dataclasses import dataclass
from typing import Final

from playbooks.people.contacts import Language


@dataclass(frozen=True, slots=True)
class Words:
    """The words of one language; a form's title and its buttons have at most 24 characters.

    Args:
        acknowledge: on the button of a page.
        answer: on the button of a plan that waits.
        title: of the form.
        submit: on its button.
        close: on the other one.
        code: above its field.
        hint: below it.
        decides: what the code does, and why nothing else here can.
        looking: while the plan is looked up.
        passing: while the answer is on its way.
        failed: something of ours broke; `{incident}` is filled in.
    """

    acknowledge: str
    answer: str
    title: str
    submit: str
    close: str
    code: str
    hint: str
    decides: str
    looking: str
    passing: str
    failed: str


WORDS: Final = {
    Language.EN: Words(
        acknowledge="Acknowledge",
        answer="Answer…",
        title="Answer a plan",
        submit="Send",
        close="Close",
        code="One-time code",
        hint="From the private message to you. Case and dashes do not matter.",
        decides=(
            "The one-time code decides: the code itself says whether it means yes or no. It was sent to you alone,"
            " not by Slack, so that whoever holds Slack's token cannot answer without it."
        ),
        looking="Looking the plan up…",
        passing="Passing your answer on…",
        failed="That did not work here. Use the command line: mcp-soar incident {incident}",
    ),
    Language.KO: Words(
        acknowledge="확인",
        answer="답하기…",
        title="계획에 답하기",
        submit="보내기",
        close="닫기",
        code="일회용 코드",
        hint="개인적으로 받은 메시지에 있습니다. 대소문자와 하이픈은 상관없습니다.",
        decides=(
            "일회용 코드가 결정합니다. 승인인지 거부인지는 코드 자체가 말해 줍니다. 코드는 Slack이 아닌 경로로"
            " 본인에게만 전달되므로, Slack 토큰을 가진 사람도 코드 없이는 답할 수 없습니다."
        ),
        looking="계획을 찾는 중입니다…",
        passing="답변을 전달하는 중입니다…",
        failed="여기서는 처리하지 못했습니다. 명령줄을 사용하십시오: mcp-soar incident {incident}",
    ),
}
