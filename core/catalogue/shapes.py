"""What codes, texts and references look like, and how long they may be."""

import re

TITLE_MAX = 200
DESCRIPTION_MAX = 10_000
LANGUAGES_MAX = 20
IMAGES_MAX = 20
CURRENCIES_MAX = 20

CODE = re.compile(r"^[A-Z0-9][A-Z0-9._-]{0,63}$")
CURRENCY = re.compile(r"^[A-Z]{3}$")
LANGUAGE = re.compile(r"^[a-z]{2,3}(?:-[A-Za-z0-9]{2,8})*$")
IMAGE = re.compile(r"^(https://|/)[!-~]{1,2000}$")
