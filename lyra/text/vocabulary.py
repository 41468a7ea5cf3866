"""What the small model knows by name: places, things, surfaces, light, and words that describe them.

One line a concept: its name, then other ways to say it. Names that several words share ("corner sofa", "winchester
sofa") are the plain thing with a description, or just the thing.
"""

PLACES = """
living room: lounge, sitting room, parlour, parlor, family room, drawing room
bedroom: bed room, sleeping room, guest room, children's room, nursery
office: study, home office, workroom, workplace, study room
kitchen: kitchenette, cookhouse
dining room: dining area, dinette
bathroom: bath room, washroom, restroom, shower room, lavatory room
studio flat: studio, flat, apartment, loft, studio apartment
room: interior, indoor, indoors, inside, chamber, house, home, place
landscape: cartoon landscape, level, outdoors, outside, nature, scenery, track, race track, racetrack
garden: park, yard, backyard, zen garden
forest: wood land, woodland, jungle, black forest
field: meadow, cornfield, soccer field
temple: ruin, shrine, colosseum
mansion: villa, manor, estate, country estate, hacienda
arena: stadium, hall, halls
city: town, street, downtown
village: english village, holiday resort
harbour: harbor, dock, port
island: beach, coast, sea shore
desert: dune
cave: mine, cavern, abyss
ice: snow, icy, snowy, glacier
volcano: magma, lava
spaceship: space station, space ship, futuristic
"""

THINGS = """
sofa: couch, settee, loveseat, love seat, futon, sofa seat, sectional
sofa bed: futon couch, sleeper sofa
armchair: easy chair, recliner, relax chair
pouf: puff, ottoman, footstool, hassock
chair: seat, seats, class seat
office chair: swivel chair, desk chair
stool: bar stool, bar chair
bench: piano bench
table: bar table, dining table, round table, cafe table, kitchen table
coffee table: low table, side table
desk: writing table, desk table, workbench, technical table
bed: double bed, captain's bed, day bed, mattress
bunk bed: mezzanine bed, loft bed
crib: baby bed, cradle
bedside table: nightstand, night stand, night table
dressing table: vanity, double vanity
changing table:
wardrobe: closet, armoire
bookcase: bookshelf, book case, book shelf
shelves: shelf, shelving, vertical shelf
cupboard: sideboard, buffet, hutch
cabinet: lower cabinet, upper cabinet, glass door cabinet, high cabinet, sink cabinet, kitchen cabinet, locker
kitchen island: island extension, island unit, counter, countertop, worktop
chest: trunk, trunck
dresser: chest of drawers, drawers, commode
filing cabinet: drawers cabinet
box: cardboard box, crate
safe:
suitcase: luggage, briefcase, handbag, backpack
TV: television, flat TV, wall flat TV, telly, screen, monitor
TV stand: television cabinet, TV unit, media console
computer: PC, laptop, apple imac, apple ibook, keyboard
speaker: stereo, stereo amplifier, hi-fi, radio
lamp: floor lamp, table lamp, desk lamp, wall light, wall lamp, spotlight, fluorescent light, track light
ceiling lamp: chandelier, hanging light, pendant lamp, ceiling light, hanging lamp
lantern: old lantern, street lamp, street light, lamppost
ceiling fan: table fan, fan
candle:
plant: house plant, houseplant, potted plant, indoor plant, ficus, yucca, spathiphyllum, bamboo, cactus, succulent
flowers: flower, orchid, tulip, bouquet, rose
tree: palm, palm tree, pine, pine tree, pinetree, cypress, oak tree, jungle tree, acacia, maple, poplar
grass: lawn, anim grass, fern, seaweed, bush, hedge, agave
Christmas tree: xmas tree
fireplace: chimney, hearth
radiator: heater, heating
air conditioner: air conditioning, internal unit
water heater: boiler, electric water heater, gaz water heater, water cooler
fridge: refrigerator, freezer
oven: double oven, microwave
stove: cooker, cooktop, large stove, hob, range
range hood: hood, extractor
sink: washbasin, basin, wash basin
washing machine: clothes washing machine, washer, dryer, dryer machine, dishwasher
bathtub: bath, tub, bath tub, jacuzzi
shower: shower stall
toilet: toilets unit, bidet, urinal, lavatory, loo, WC
towel: towel rack, bathmat
clothes rack: clothes horse, wall hanger, coat rack, hanger, hanging clothes
curtain: drape, drapes, blind
window: french window
door: doorway
picture: painting, portrait, drawing, woodblock print, poster, photograph on the wall, framed picture
rug: carpet, mat, oriental rug, persian rug
vase: jar, pottery, flower pot
clock: cuckoo clock
book: books, newspaper, magazine
piano: grand piano, upright piano
guitar: electric guitar
bicycle: bike, indoor bike
treadmill: fitness tower, abdominal bench, gym machine
pool table: billiard table, table tennis, football table
toy: dart game, game, teddy bear, doll, rocking horse, doll house, dollhouse, wood toy, puzzle, toys
aquarium: fish tank
bottle: wine bottle
cup: mug, glass, plate, bowl, dish, teapot, crockery
fruit: apple, bread, food
white board: whiteboard
waste bin: trash can, dustbin, bin
ladder: step ladder
umbrella:
tent: camping tent
car: automobile, truck, bus, van, vehicle, kart
boat: ship, rowboat
person: man, woman, boy, girl, people, male, female, child, kid, lady
cat: kitten
dog: puppy
house wall: building, modern housing, aztec house, warehouse
fountain: pool, swimming pool
fence: railing, barrier, log barrier
staircase: stair, stairs, steps, stairway, stairwell, spiral staircase
column: pillar
"""

SURFACES = """
wall: walls
floor: flooring, ground
ceiling:
"""

LIGHTS = """
daylight: day, sunshine, by day, daytime, sunlight, sunny, sunlit, bright, sun, morning, noon, afternoon, light
lamp light: lamp light in the evening, evening, night, at night, sunset, nightfall, candlelight, dim, night time, dusk
soft light: soft daylight and lamps, soft daylight, twilight, cloudy, overcast
"""

WORDS = """
white: snow-white, ivory
black: ebony
grey: gray, silver
red: crimson, scarlet, reddish, maroon, burgundy
orange: peach, terracotta
yellow: yellowish, golden, gold, mustard
green: emerald, lime, greenish
teal: turquoise, cyan, aqua
blue: navy, azure
purple: violet, lilac, mauve
pink: rose-coloured, magenta
brown: chocolate, tan, brownish
beige: cream, sand, sandstone
olive:
pale: pastel, light-coloured
dark: deep
warm: cosy, cozy
wooden: wood, timber, teak, teck, alder, pine wood
oak:
walnut:
planks: plank, board, boards, floorboard, floorboards
parquet: hardwood, laminate
tiles: tile, tiled, acoustic tile
checkered: chequered, chessboard, black and white tiles
mosaic:
brick: bricks
stone: flagstone, field stone, paving stone, rubble, slate, block
marble: veined marble
concrete: cement, slab, panel
plaster: render, plastered
stucco:
painted:
floral: flower pattern, floral pattern, flowery
persian: oriental
linen: fabric, cloth, burlap, textile
leather: winchester
glass: glazed
metal: iron, steel, chrome
plastic:
rattan: wicker
modern: contemporary, minimalist
old: antique, vintage, weathered, rustic, classic
round: circular, oval
large: big, huge, enormous, massive, spacious, wide, long
small: little, tiny, mini, compact
high: tall
corner: L-shaped
smooth: polished
rough: textured
empty: bare
crowded: full, cluttered
"""

# Names that describe if a thing or another description follows at once: "light grey walls", "a glass table".
DESCRIBING = {"light": "pale", "glass": "glass"}
NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "pair": 2, "couple": 2, "three": 3, "four": 4, "five": 5, "six": 6}
NUMBERS |= {"several": 5, "many": 6, "some": 3, "few": 3}
LEAVING_OUT = ("no", "without", "not", "except", "never")
# Words that say nothing about what is to be seen.
PLAIN = (
    "the this that these those there is are be was were has have with of in on at by to from into for and or as its it "
    "which where near next beside behind before under above over between around against along through left right front "
    "back side middle centre center facing opens open opening made covered filled full lit set photo photograph image "
    "picture view scene render rendering shot close up wide angle please show me make create generate draw i want like "
    "would very quite really so nice beautiful lovely pretty good great realistic detailed quality high resolution "
    "style looking stands standing hangs hanging sits lies cartoon photorealistic "
    "decorative plain upper lower folding cushion tablecloth trestle cast low area space all each "
    "both other another also too only just then out moves move one's your my our their"
)
KINDS = {"place": PLACES, "thing": THINGS, "surface": SURFACES, "light": LIGHTS, "word": WORDS}
