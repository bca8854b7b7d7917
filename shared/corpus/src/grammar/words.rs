//! Lists of words, with what goes with each.

pub(super) const RULES: &str = r#"
color = %3 red|%3 blue|%2 green|%2 yellow|pink|purple|orange|white|black|brown|gray|silver|golden|striped|spotted|shiny
small_look = little|tiny|small|soft|pretty|round|smooth|shiny|old|lovely|special|simple
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

food = %2 cookies|%2 apples|grapes|sandwiches|cherries|strawberries|muffins|pancakes|plums|pears|crackers|cupcakes|candies|peanuts|raisins|donuts|carrots|oranges|bananas|peaches|blueberries|raspberries|nuts|pretzels|dumplings|waffles|biscuits|cheese sticks|melon slices|rice balls|popcorn balls|gummy bears|chocolates|lollipops|tarts|rolls|apricots|figs|dates|tomatoes
animal_food = berries|nuts|apples|carrots|seeds|cherries|plums|acorns|mushrooms|blackberries|pears|grapes|clover buds|corn cakes|honey cakes|walnuts|chestnuts|peas|turnips|radishes|pumpkin seeds|figs|crab apples|roots
treat = ice cream|apple pie|chocolate cake|hot cocoa|lemonade|pudding|honey bread|jelly|warm milk|popcorn|noodle soup|fruit salad|toast with jam|banana bread|cheese pizza|rice pudding|pumpkin pie|peach juice|vanilla cake|cinnamon toast|macaroni|yogurt|oatmeal|spaghetti|tomato soup|mashed potatoes|berry juice|cream buns|gingerbread|custard
soup = chicken|tomato|noodle|vegetable|potato|pumpkin|mushroom|carrot|onion|lentil|bean|rice|corn|pea|barley|cabbage
flower = daisies|roses|tulips|sunflowers|violets|buttercups|lilies|poppies|bluebells|daffodils|pansies|dandelions|marigolds|snowdrops|primroses|irises|orchids
vegetable = carrot / carrots | pumpkin / pumpkins | tomato / tomatoes | bean / beans | pea / peas | sunflower / sunflowers | tulip / tulips | rose / roses | apple tree / apple trees | strawberry / strawberries | cucumber / cucumbers | melon / melons | pepper / peppers | daisy / daisies | squash / squashes | lemon tree / lemon trees | onion / onions | radish / radishes | cabbage / cabbages | corn / corn | potato / potatoes | cherry tree / cherry trees | marigold / marigolds | bean / beans | lily / lilies | plum tree / plum trees
animal_friend = butterfly|ladybug|snail|bee|robin|sparrow|grasshopper|dragonfly|beetle|caterpillar|woodpecker|swan|goose|seagull|lizard|chipmunk|cricket|mole|crow|pigeon|spider|worm|moth|firefly|wren
zoo_animal = lion|tiger|zebra|giraffe|camel|kangaroo|panda|hippo|rhino|crocodile|wolf|flamingo|peacock|gorilla|koala|seal|walrus|ostrich|cheetah|leopard|whale|shark|octopus|dolphin
color_thing = a rainbow|the sun|the moon|the sea|a strawberry|a lemon|a berry|the sky|a candle|a star|a jewel|a plum|an orange|a leaf

weather_good = sunny|bright|warm|lovely|fine|beautiful|clear|mild|breezy|fresh|golden|pleasant|quiet|perfect
weather_bad = rainy|cold|windy|cloudy|foggy|chilly|stormy|gray|snowy|misty|frosty|damp
season = spring|summer|autumn|winter|March|April|May|June|July|August|September|October
weekday = Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday
meal = breakfast|lunch|dinner|supper|a snack|a nap|a bath|school|story time
day_part = morning|afternoon|day

happy = %3 happy|glad|cheerful|joyful|delighted|pleased|thrilled|excited|merry|overjoyed
proud = proud|happy|strong|tall|brave|clever|important|special|pleased
sad = %3 sad|unhappy|upset|gloomy|worried|sorry|miserable|heartbroken|disappointed|blue
scared = %3 scared|afraid|frightened|worried|nervous|shaky|terrified|timid|alarmed
tired = tired|sleepy|worn out|weary|drowsy|exhausted
cross = angry|cross|grumpy|mad|annoyed|jealous|stubborn|moody
kind = kind|gentle|good|caring|thoughtful|sweet|patient|generous|loving|helpful|honest|loyal|fair
so = very|so|really|quite|very, very|a little|rather

gladly = happily|cheerfully|proudly|gladly|brightly|with a smile|with a grin|with shining eyes|with a laugh|with joy|warmly|eagerly|in a happy voice
sadly = sadly|softly|quietly|in a small voice|with tears in {his} eyes|with a sigh|with a sob|in a shaky voice|with a frown|with a sniff|in a low voice|glumly|shyly
kindly = kindly|gently|softly|warmly|with a smile|with a nod|calmly|in a soft voice|in a warm voice|tenderly|with a wink|wisely|in a gentle voice|patiently
quickly = quickly|at once|right away|as fast as {he} could|without a word|in a hurry|straight away|in a flash|swiftly|without waiting
carefully = carefully|slowly|gently|bit by bit|very carefully|with great care|quietly|neatly|step by step|softly|steadily
hard = hard|again and again|all morning|all day|as hard as {he} could|every day|for a long time|with all {his} might|for hours|over and over

said = said|said|said|answered|replied|called|told them
saying = said|whispered|said|explained|added|promised|declared|murmured
asked = asked|asked|asked|wondered|called
cried = cried|shouted|called|yelled|exclaimed|cheered|squealed|gasped
went = went|walked|ran|hurried|headed|strolled|skipped|wandered|marched
looked = looked|peeked|searched|hunted|checked|peered
saw = saw|spotted|noticed|found|came across|discovered
made = made|built|fixed|put together|finished
thought = thought|wondered|decided|guessed|believed
stranger = baker|farmer|mailman|gardener|teacher|shopkeeper|fisherman|painter|neighbor|librarian|policeman|doctor|bus driver|firefighter|nurse|carpenter|sailor|dentist|plumber|tailor|postman|cook|clown|musician|pilot|zookeeper|butcher|cobbler|miller|shepherd
simile_good = as bright as <color_thing> | as happy as a (lark|clam|bee in spring|bird) | as light as a (feather|cloud|bubble) | as warm as (toast|a blanket|sunshine|fresh bread) | as proud as a (king|queen|lion|peacock)
simile_bad = as heavy as a (stone|rock|brick|boulder) | as cold as (ice|snow|a stone) | as small as (an ant|a pea|a pin|a crumb) | as gray as a (rain cloud|foggy day|puddle|shadow)

hobby.child = draw pictures|ride {his} bike|read books|sing songs|play with blocks|dance|climb trees|paint|look at the stars|collect shells|bake with {g}|play the (piano|drum|violin|trumpet)|play tag|build towers|jump in puddles|tell jokes|play hide and seek|feed the ducks|watch the (trains|clouds|boats|ants)|swing high|make paper planes|pick (flowers|berries|apples)|skip rope|blow bubbles|dress up|play soccer|roll down hills|fly kites|play pirates|dig in the sand|help in the garden|count (coins|cars|birds)|listen to stories|make mud pies|splash in the tub|pretend to be a (king|pirate|chef|wizard|knight|doctor)
hobby.animal = run in the grass|play in the sun|look for {h.food}|chase leaves|swim in the pond|sing to the moon|roll in the hay|jump over logs|sleep in the shade|splash in the stream|play with friends|eat {h.food}|listen to the birds|dig holes|watch the (clouds|stars|fireflies|bees)|climb on rocks|hide in tall grass|slide down hills|race the wind|count (acorns|stars|petals|snails)|smell the flowers|tell stories|visit {his} neighbors|collect (pebbles|feathers|twigs|leaves)
hobby.toy = dance at night|look out of the window|play on the rug|tell stories|sing with the other toys|ride in the toy wagon|climb on the blocks|slide down the books|have tea parties|hide behind the curtain|race across the floor|count the stars|march around the room|jump on the pillows|read picture books|make shadow shapes|watch the children|bounce on the bed

"#;
