//! Lists of words, with what goes with each.

pub(super) const RULES: &str = r#"
color = %3 red|%3 blue|%2 green|%2 yellow|pink|purple|orange|white|black|brown|gray|silver|golden|striped|spotted|shiny
big_look = big|huge|tall|wide|heavy|enormous|giant|long|large|great
taste = sweet|yummy|tasty|warm|fresh|juicy|delicious|crunchy|creamy|sticky|soft|spicy|buttery

# What breaks / how / what mends it / which one it is
fragile =
  vase / fell off the table / glue / full of flowers
  cup / fell on the floor / glue / from the kitchen
  plate / slipped onto the floor / glue / with painted birds
  clock / fell off the wall / a screwdriver / with a loud tick
  lamp / tipped over / a new bulb / with a paper shade
  chair / cracked / some nails / by the window
  music box / fell down / a tiny screw / with a dancing lady
  teapot / slipped onto the floor / glue / with a curved spout
  picture frame / fell off the shelf / tape / with a family photo
  mirror / cracked / tape / with a wooden frame
  mug / fell on the floor / glue / for hot cocoa
  snow globe / rolled off the shelf / glue / with a tiny house inside
  piggy bank / fell off the shelf / glue / full of coins
  flower pot / tipped over / glue / by the door
  radio / fell down / a new wire / with round knobs
  wagon / lost a wheel / a hammer / with four wheels
  bird house / fell from its hook / some nails / by the fence
  toy ship / fell off the shelf / some string / with white sails
  guitar / lost a string / a new string / from the attic
  bicycle / lost its chain / a wrench / with a basket
  swing / snapped / strong rope / under the oak
  gate / came loose / a hammer / in the fence
  kite / tore / tape / with a long tail
  bowl / fell on the floor / glue / for berries
  jar / slipped onto the floor / tape / full of jam
  basket / split / strong grass / for berries
  raft / came apart / thick rope / for the pond
  ladder / cracked / some nails / to the loft

food = %2 cookies|%2 apples|grapes|sandwiches|cherries|strawberries|muffins|pancakes|plums|pears|crackers|cupcakes|candies|peanuts|raisins|donuts|carrots|oranges|bananas|peaches|blueberries|raspberries|nuts|pretzels|dumplings|waffles|biscuits|cheese sticks|melon slices|rice balls|popcorn balls|gummy bears|chocolates|lollipops|tarts|rolls|apricots|figs|dates|tomatoes|pickles|almonds|olives|radishes|turnovers|croissants|pastries|meatballs|french fries|hot dogs|hamburgers|tacos|pretzel sticks|coconuts|pineapples|mangoes|kiwis|limes|papayas|cranberries|currants|gooseberries|hazelnuts|pecans|truffles|marshmallows|brownies|scones|bagels|sausages|eggs|omelets|fritters|macaroons|caramels|mints|cashews|chips
animal_food = berries|nuts|apples|carrots|seeds|cherries|plums|acorns|mushrooms|blackberries|pears|grapes|clover buds|corn cakes|honey cakes|walnuts|chestnuts|peas|turnips|radishes|pumpkin seeds|figs|crab apples|roots
treat = ice cream|apple pie|chocolate cake|hot cocoa|lemonade|pudding|honey bread|jelly|warm milk|popcorn|noodle soup|fruit salad|toast with jam|banana bread|cheese pizza|rice pudding|pumpkin pie|peach juice|vanilla cake|cinnamon toast|macaroni|yogurt|oatmeal|spaghetti|tomato soup|mashed potatoes|berry juice|cream buns|gingerbread|custard|soda|milkshakes|porridge|stew|lasagna|cheesecake|apple sauce|sherbet|fudge|nougat|roast chicken|corn bread|rice and beans|fish sticks|garlic bread|maple syrup and waffles|cold cider|ginger tea|plum jam|baked potatoes|coconut cake|raisin bread|cranberry juice|buttered corn|grilled cheese|trail mix|granola|cocoa with cream|peppermint tea|marmalade toast
soup = chicken|tomato|noodle|vegetable|potato|pumpkin|mushroom|carrot|onion|lentil|bean|rice|corn|pea|barley|cabbage|garlic|celery|spinach|turnip|beet|leek|asparagus|chickpea|clam|broccoli|zucchini
flower = daisies|roses|tulips|sunflowers|violets|buttercups|lilies|poppies|bluebells|daffodils|pansies|dandelions|marigolds|snowdrops|primroses|irises|orchids|carnations|hyacinths|peonies|geraniums|lavender|jasmine|lilacs|crocuses|magnolias|petunias|forget-me-nots|heather|foxgloves|clover flowers
vegetable = carrot / carrots | pumpkin / pumpkins | tomato / tomatoes | bean / beans | pea / peas | sunflower / sunflowers | tulip / tulips | rose / roses | strawberry / strawberries | cucumber / cucumbers | melon / melons | pepper / peppers | daisy / daisies | squash / squashes | onion / onions | radish / radishes | cabbage / cabbages | potato / potatoes | marigold / marigolds | lily / lilies | turnip / turnips | beet / beets | watermelon / watermelons | blueberry / blueberries | poppy / poppies | zucchini / zucchinis
animal_friend = butterfly|ladybug|snail|bee|robin|sparrow|grasshopper|dragonfly|beetle|caterpillar|woodpecker|swan|goose|seagull|lizard|chipmunk|cricket|mole|crow|pigeon|spider|worm|moth|firefly|wren|hummingbird|magpie|starling|blackbird|finch|swallow|stork|turkey|rooster|hen|lark|kingfisher|canary|salamander|tadpole|newt|bumblebee|centipede|cuckoo|dove
zoo_animal = lion|tiger|zebra|giraffe|camel|kangaroo|panda|hippo|rhino|crocodile|wolf|flamingo|peacock|gorilla|koala|seal|walrus|ostrich|cheetah|leopard|whale|shark|octopus|dolphin|buffalo|cobra|python|moose|reindeer|otter|badger|porcupine|skunk|possum|llama|alpaca|donkey|toucan|vulture|pelican|jaguar|sloth|anteater|lemur|antelope|chimpanzee|tortoise|polar bear|sea lion|stingray|jellyfish|lobster|eel|orangutan|bison|heron

weather_good = sunny|bright|warm|lovely|fine|beautiful|clear|mild|breezy|fresh|golden|pleasant|quiet|perfect|sparkling|glorious|sunlit|cloudless|delightful
weather_bad = rainy|cold|windy|cloudy|foggy|chilly|stormy|gray|snowy|misty|frosty|damp|drizzly|icy|gusty|soggy|dreary
season = spring|summer|autumn|winter|March|April|May|June|July|August|September|October
weekday = Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday
meal = breakfast|lunch|dinner|supper|a snack|a nap|a bath|school|story time
day_part = morning|afternoon|day

happy = %4 happy|%2 glad|cheerful|joyful|excited|pleased|merry
proud = proud
sad = %5 sad|%2 unhappy|upset|gloomy|miserable|downhearted|%2 sad
scared = %3 scared|%2 afraid|%2 frightened
tired = %2 tired|sleepy|worn out|weary
cross = angry|cross|grumpy|mad|annoyed
kind = %4 kind|gentle|good|caring|thoughtful|sweet|patient|generous|loving|helpful|honest|loyal|friendly
so = %3 very|%3 so|really|quite

gladly = happily|cheerfully|proudly|gladly|brightly|with a smile|with a grin|with shining eyes|with a laugh|with joy|warmly|eagerly|in a happy voice|merrily|joyfully|with a giggle|in a bright voice|excitedly|with a happy sigh|with a cheer|in a loud voice
sadly = sadly|softly|quietly|in a small voice|with tears in {his} eyes|with a sigh|with a sob|in a shaky voice|with a frown|with a sniff|in a low voice|glumly|shyly|unhappily|miserably|with a gulp|with a trembling voice|with wet cheeks|in a whisper|with {his} head down|weakly|in a tiny voice
kindly = kindly|gently|softly|warmly|with a smile|with a nod|calmly|in a soft voice|in a warm voice|tenderly|with a wink|wisely|in a gentle voice|patiently|politely|sweetly|in a cheerful voice|with a chuckle|with bright eyes|with a kind smile|thoughtfully
quickly = quickly|at once|right away|without a word|in a hurry|straight away|without waiting
carefully = carefully|slowly|very carefully|with great care|quietly|patiently|slowly and carefully|with steady hands
gently = gently|softly|carefully|kindly|very gently|slowly
brave_animal = lion|tiger|bear|wolf|eagle|knight|dragon|elephant|rhino|bull
cry_how = loudly|out loud|in surprise|with wide eyes|as loud as {he} could|at the top of {his} voice|and jumped up|and stood still|with an open mouth|and pointed|in a loud voice|breathlessly|all of a sudden|and looked around|and threw up {his} arms|and held {his} breath|and turned around|so that everyone could hear it|and ran closer
cry_how_pair = loudly|out loud|with one voice|at the same time|together|as loud as they could|happily|with joy|and hugged|and laughed|and clapped
ask_how = softly|quietly|loudly|again|shyly|politely|with big eyes|with wide eyes|in a small voice|and looked up|and turned around|in surprise|a little later|curiously|hopefully|and came closer
hard = hard|again and again|as hard as {he} could|for a long time|with all {his} might|for hours|over and over|day after day

said = said|said|said|answered|replied|called|told them
asked = asked|asked|asked|wondered|called
cried = %2 cried|shouted|called|yelled|exclaimed
went = %2 went|ran|walked|hurried|rushed|dashed
looked = looked|peeked|searched|hunted|checked|peered
saw = %2 saw|spotted|noticed
stranger = baker|farmer|mailman|gardener|teacher|shopkeeper|fisherman|painter|neighbor|librarian|policeman|doctor|bus driver|firefighter|nurse|carpenter|sailor|dentist|plumber|tailor|postman|cook|clown|musician|pilot|zookeeper|butcher|cobbler|miller|shepherd|blacksmith|beekeeper|milkman|mayor|king|queen|captain|goatherd|toymaker|juggler|knight|wizard|princess|conductor|engineer|barber|waiter|weaver|drummer|singer|dancer|builder|woodcutter|chimney sweep|guard|grocer|florist|potter|scientist|astronaut|cowboy|magician
bright_thing = the sun|the moon|a star|a jewel|a candle|a lamp|a rainbow|fire|gold|a new coin|a diamond|the morning sky|two stars|the snow in the sun|a silver bell|moonlight|sunlight|a lightning bug|a Christmas tree|a mirror|polished brass|a marble|fireworks
simile_good = as bright as <bright_thing> | as happy as a (lark|clam|bee in spring|bird) | as light as a (feather|cloud|bubble) | as warm as (toast|a blanket|sunshine|fresh bread) | as proud as a (king|queen|lion|peacock|captain|champion|rooster|general) | as fresh as a (flower|spring morning|breeze|daisy) | as free as a (bird|cloud|butterfly|wild pony)
simile_bad = as heavy as a (stone|rock|brick|boulder) | as cold as (ice|snow|a stone) | as small as (an ant|a pea|a pin|a crumb) | as gray as a (rain cloud|foggy day|puddle|shadow|mouse|stormy sea) | as empty as a (bucket|box|nest|drum|shell) | as lonely as a (lighthouse|lost sock|single leaf|snowman in spring)

hobby.child = draw pictures|ride {his} bike|read books|sing songs|play with blocks|dance|climb trees|paint|look at the stars|collect shells|bake with {g}|play the (piano|drum|violin|trumpet)|play tag|build towers|jump in puddles|tell jokes|play hide and seek|feed the ducks|watch the (trains|clouds|boats|ants)|swing high|make paper planes|pick (flowers|berries|apples)|skip rope|blow bubbles|dress up|play soccer|roll down hills|fly kites|play pirates|dig in the sand|help in the garden|count (coins|cars|birds)|listen to stories|make mud pies|splash in the tub|pretend to be a (king|pirate|chef|wizard|knight|doctor)|study maps|write letters|knit scarves|make puppets|catch frogs|look for fossils|juggle balls|whistle tunes|mix paints|plant seeds|wash the car|polish shoes|invent games|sail toy boats|build robots|solve puzzles|tickle the baby|feed the goldfish|sketch animals|hike in the hills|camp in the yard|skate on the pond|spin in circles|hum melodies|act in plays|trade stickers|gather chestnuts|watch snowflakes|climb ladders|practice magic tricks
hobby.animal = run in the grass|play in the sun|look for {h.food}|chase leaves|swim in the pond|sing to the moon|roll in the hay|jump over logs|sleep in the shade|splash in the stream|play with friends|eat {h.food}|listen to the birds|dig holes|watch the (clouds|stars|fireflies|bees)|climb on rocks|hide in tall grass|slide down hills|race the wind|count (acorns|stars|petals|snails)|smell the flowers|tell stories|visit {his} neighbors|collect (pebbles|feathers|twigs|leaves)|gather wild herbs|dance in the moonlight|nap in the sunshine|explore caves|whistle with the wind|follow the stream|build little dams|tease the crickets|drink dew|watch the thunderclouds|sniff the breeze|peek into burrows|balance on branches|greet the sunrise|admire the rainbow
hobby.toy = dance at night|look out of the window|play on the rug|tell stories|sing with the other toys|ride in the toy wagon|climb on the blocks|slide down the books|have tea parties|hide behind the curtain|race across the floor|count the stars|march around the room|jump on the pillows|read picture books|make shadow shapes|watch the children|bounce on the bed|polish {his} buttons|whisper secrets|study the ceiling|practice somersaults|waltz in the moonlight|guard the door|invent riddles|balance on the shelf|tell ghost stories|explore the drawers

"#;
