"""What is said in the example calls, by which voices, how loud, and in what noise."""

from dataclasses import dataclass
from typing import Final, Literal

Role = Literal["agent", "customer"]
Noise = Literal["hiss", "babble", "street", "hum", "fan", "keyboard"]


@dataclass(frozen=True, kw_only=True)
class Leg:
    """One party's side of the line."""

    voice: str
    """A voice of espeak-ng."""
    words_per_minute: int
    speech_dbfs: float
    """RMS of the voice while it speaks, in the telephone band."""
    noise: Noise
    snr_db: float
    """`speech_dbfs` over the RMS of the noise, in the telephone band."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """Something that is said."""

    by: Role
    text: str
    after_s: float = 0.35
    """Seconds from the end of what was said before; negative: into it."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One call."""

    file: str
    legs: dict[Role, Leg]
    lines: tuple[Line, ...]


def _agent(text: str, after_s: float = 0.35) -> Line:
    return Line(by="agent", text=text, after_s=after_s)


def _customer(text: str, after_s: float = 0.45) -> Line:
    return Line(by="customer", text=text, after_s=after_s)


SCENES: Final = (
    Scene(
        file="parcel.wav",
        legs={
            "agent": Leg(voice="en-us+f3", words_per_minute=175, speech_dbfs=-21, noise="hiss", snr_db=42),
            "customer": Leg(voice="en-gb+m3", words_per_minute=165, speech_dbfs=-23, noise="hiss", snr_db=40),
        },
        lines=(
            _agent("Northway Deliveries, Grace speaking. How can I help?", 0.6),
            _customer("Hello. My parcel should have come on Friday, and it isn't here.", 0.6),
            _agent("I'm sorry to hear that. May I have the tracking number?"),
            _customer("Yes. It ends in four, seven, two, nine."),
            _agent("Thank you. It is on the van now, and will be with you before noon today.", 0.9),
            _customer("Wonderful. Thanks for your help."),
        ),
    ),
    Scene(
        file="invoice.wav",
        legs={
            "agent": Leg(voice="en-gb+m1", words_per_minute=180, speech_dbfs=-20, noise="babble", snr_db=12),
            "customer": Leg(voice="en-us+f2", words_per_minute=170, speech_dbfs=-33, noise="hiss", snr_db=25),
        },
        lines=(
            _agent("Customer accounts, Owen speaking.", 0.5),
            _customer("Hi Owen. I've been charged twice for the same month."),
            _agent("Let me look. Is that the invoice dated the first of February?"),
            _customer("That's the one. Forty-two pounds, two times.", 0.4),
            _agent("I can see both payments. I'll refund the second one right away."),
            _customer("Oh, great.", -0.3),
            _agent("It takes three to five working days.", 0.1),
            _customer("That's fine. Thank you."),
        ),
    ),
    Scene(
        file="breakdown.wav",
        legs={
            "agent": Leg(
                voice="en-gb-x-rp+f4", words_per_minute=175, speech_dbfs=-24, noise="hiss", snr_db=32
            ),
            "customer": Leg(
                voice="en-gb-scotland+m7", words_per_minute=185, speech_dbfs=-22, noise="street", snr_db=8
            ),
        },
        lines=(
            _agent("Roadside assistance, Linda here. Are you in a safe place?", 0.5),
            _customer(
                "Yes, I'm behind the barrier. The car just stopped, and there's smoke coming from the front."
            ),
            _agent("Please stay away from it. Which road are you on?", 0.2),
            _customer("The A seventy-one, heading west, just past the petrol station."),
            _agent("Thank you. A patrol will reach you in about thirty minutes."),
            _customer("All right. I'll wait here.", 0.2),
        ),
    ),
    Scene(
        file="router.wav",
        legs={
            "agent": Leg(voice="en-us+m2", words_per_minute=175, speech_dbfs=-22, noise="hiss", snr_db=35),
            "customer": Leg(voice="en-gb+f5", words_per_minute=160, speech_dbfs=-29, noise="hum", snr_db=14),
        },
        lines=(
            _agent("Technical support, you're through to Marcus.", 0.6),
            _customer("My internet has been down since yesterday."),
            _agent("Sorry about that. What colour is the light on your router?"),
            _customer("It's red, and it blinks."),
            _agent("Please unplug it, count to ten, and plug it in again."),
            _customer("One moment.", 1.6),
            _customer("Now it's green!", 1.4),
            _agent("Perfect. You should be online again."),
        ),
    ),
    Scene(
        file="appointment.wav",
        legs={
            "agent": Leg(voice="en-us+f1", words_per_minute=170, speech_dbfs=-19, noise="hiss", snr_db=34),
            "customer": Leg(voice="en-029+m4", words_per_minute=170, speech_dbfs=-27, noise="fan", snr_db=10),
        },
        lines=(
            _customer("Hello?", 0.8),
            _agent("This is Joan from the dental practice. Is that Mr Field?", 0.4),
            _customer("Yes, that's me."),
            _agent("I'm calling about your appointment on Thursday at ten. Does that still suit you?"),
            _customer("Ah, no, I have to work. Do you have anything in the afternoon?"),
            _agent("I could offer you half past four.", 1.0),
            _customer("Half past four is good."),
            _agent("Then I have put you down for it. See you on Thursday."),
        ),
    ),
    Scene(
        file="hotel.wav",
        legs={
            "agent": Leg(
                voice="en-gb-x-gbclan+m5", words_per_minute=175, speech_dbfs=-21, noise="keyboard", snr_db=16
            ),
            "customer": Leg(voice="en-us+f4", words_per_minute=165, speech_dbfs=-37, noise="hiss", snr_db=9),
        },
        lines=(
            _agent("Harbour Hotel reservations, Peter speaking.", 0.5),
            _customer("I'd like to move my booking to the twentieth of May, please."),
            _agent("Certainly. What name is it under?"),
            _customer("Lane. L, A, N, E. A double, two nights."),
            _agent("I have found it. The twentieth is free, at the same price.", 1.5),
            _customer("Lovely. And is breakfast included?"),
            _agent("It is, from seven until ten."),
        ),
    ),
)

CHATTER: Final = (
    ("en-gb+m2", "And if you could just read me the last four digits. No, I don't see it here yet."),
    ("en-us+f5", "That comes to thirty-one euros and fifty cents a month, with the first month free."),
    ("en-gb+f2", "I'll put you through to my colleague in the claims department, please hold the line."),
    ("en-us+m6", "Have you tried to switch it off and on again? And which message do you see on the screen?"),
    ("en-gb-x-rp+m4", "We are open Monday to Saturday, nine to six, and you don't need an appointment."),
    ("en-029+f1", "Let me check that for you. It left our warehouse on Tuesday, it should arrive tomorrow."),
)
"""Voices and texts of the colleagues who are heard as office babble."""
