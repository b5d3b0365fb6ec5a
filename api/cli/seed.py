"""`sluice seed`: a small catalogue to try things out with."""

import asyncio

import rich_click as click

from api.cli import context
from core.catalogue import CodeTaken
from core.flows.stock_products import NewProduct, stock_products
from core.kit import db

POOL_SIZE_MAX = 2
# Ten million for the demo sale, and ten million for a sale of your own.
UNITS = 20_000_000
CURRENCY = "CNY"

# Title in English and Chinese, then each SKU: code, price in fen.
PRODUCTS: list[tuple[str, str, list[tuple[str, int]]]] = [
    (
        "Cedar wireless earbuds with noise cancelling",
        "雪松主动降噪真无线耳机",
        [("CEDAR-BUDS-WHITE", 39_900), ("CEDAR-BUDS-GRAPHITE", 39_900)],
    ),
    (
        "Jingwei mechanical keyboard, 87 keys",
        "经纬 87 键机械键盘",
        [("JINGWEI-87-LINEAR", 32_900), ("JINGWEI-87-TACTILE", 32_900)],
    ),
    (
        "Longjing green tea, first spring harvest, 250 g",
        "明前龙井绿茶 250 克",
        [("LONGJING-250", 26_800)],
    ),
    (
        "Jingdezhen celadon cup, hand thrown",
        "景德镇手工青瓷主人杯",
        [("CELADON-CUP-90", 12_800), ("CELADON-CUP-120", 14_800)],
    ),
    (
        "Silk pillowcase, 22 momme mulberry",
        "22 姆米桑蚕丝枕套",
        [("SILK-PILLOW-IVORY", 19_900), ("SILK-PILLOW-SAGE", 19_900)],
    ),
    (
        "Folding bicycle, 20 inch, 8 speed",
        "20 英寸 8 速折叠自行车",
        [("FOLD-20-BLACK", 189_900), ("FOLD-20-SAND", 189_900)],
    ),
    (
        "Cast iron wok, 30 cm, uncoated",
        "无涂层铸铁炒锅 30 厘米",
        [("WOK-30", 15_900)],
    ),
    (
        "Yunnan single-origin coffee beans, 500 g",
        "云南单一产地咖啡豆 500 克",
        [("YUNNAN-500-MEDIUM", 8_900), ("YUNNAN-500-DARK", 8_900)],
    ),
    (
        "Down jacket, 800 fill, packable",
        "800 蓬轻量羽绒服",
        [("DOWN-800-S", 69_900), ("DOWN-800-M", 69_900), ("DOWN-800-L", 69_900)],
    ),
    (
        "Desk lamp with daylight spectrum",
        "全光谱护眼台灯",
        [("LAMP-DAYLIGHT", 29_900)],
    ),
]


@click.command("seed")
def command() -> None:
    """Load the demo products, twenty million units of each SKU. Does nothing when it finds any."""
    made = asyncio.run(seed(context.settings("database_url").database_url))
    print(f"{made} SKUs made" if made else "nothing to do: there are products already")


async def seed(database_url: str) -> int:
    """Return how many SKUs were made."""
    products = [
        NewProduct(
            {"en": english, "zh": chinese},
            [(code, price_minor, CURRENCY) for code, price_minor in skus],
        )
        for english, chinese, skus in PRODUCTS
    ]
    async with db.create_pool(database_url, size_max=POOL_SIZE_MAX) as pool:
        try:
            return len(
                await stock_products(pool, products=products, units=UNITS, reference="demo data")
            )
        except CodeTaken:
            return 0  # another seed was faster
