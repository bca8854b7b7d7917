//! How stories open and close, where they happen, and the beats that all plots share.

pub(super) const RULES: &str = r#"
story = {=p place*}{=q place*}<+bind><open> <+body>~<close>

open =
  %6 Once upon a time, there (was|lived) {h.intro}. <trait>~<day>, {h} <+start>.
  %3 Once upon a time, {h.intro} lived in <dwelling*>. <likes>~<day>, {h} <+start>.
  %2 Once upon a time, there (was|lived) {h.intro}. <day>, {h} <+start>.
  %4 There (was|once was|was once) {h.intro}. <trait>~<day>, {h} <+start>.
  %2 There was a <kind> {h.noun}{h.known}. <trait>~<day>, {h} <+start>.
  %2 <who_is!> <trait>~<day>, {h} <+start>.
  %2 {h.full} lived in <dwelling*>. <likes> <day>, {h} <+start>.
  %6 <day>, {h.intro} <+start>.
  %3 <day>, {h.full} <+start>.
  %4 <want_open*>
  %14 {?o}{h.full} <+start>. <trait>
  %4 {?o}{h.full} <+start>. It was <a_day>.
  %2 {h.full} <+start>. It was <a_day>.
  %2 It was <a_day>. {h.full} <+start>.
want_open.child = {h.full} wanted to <+wish>. <day>, {h.he} <+start>.
want_open.animal =
  %4 The {h.look} {h.noun} wanted to <+wish>. <who_was!>~<day>, {h.he} <+start>.
  The {h.look} {h.noun} wanted to <+wish>, and <day_low>, {h.he} <+start>. <who_was!>
want_open.toy = {h.full} wanted to <+wish>. <day>, {h.he} <+start>.
who_is.named = {h} was a {h.look} {h.noun}. | {h} was a <kind> {h.noun}. | {h} was a {h.look} and <kind> {h.noun}.
who_is.unnamed = There once was {h.intro}. | Far away, there lived {h.intro}. | There was {h.intro} in <home_area>.
who_was.named = {h.his} name was {h}. <trait> | Everyone in <home_area> called {h.him} {h}. | The {h.noun} was called {h}, and {h.he} lived in <dwelling*>.
who_was.unnamed = <trait> | {h.he} had thought about it <long_time>. | {h.he} lived in <dwelling*>.
home_area = the forest|the valley|the meadow|the farmyard|the woods|the village
long_time = all (week|morning|night|winter|summer|day)|since (breakfast|sunrise|spring|Monday|yesterday)|for a (long time|week|month|whole year)
day_low = one <day_part>|one <weather_good> <day_part>|on <weekday>|early one morning

day =
  %5 {?d}One day
  %4 {?d}One <weather_good> <day_part>
  %3 {?d}One <day_part>
  %4 {?d}On a (sunny|sunny|<weather_good>) day
  {?d}On a <weather_good> <day_part> in <season>
  %2 On <weekday>
  {?d}Early one (morning|<weekday> morning)
  {?d}One <day_part> in <season>
  {?d}After <meal>
  Last (week|<weekday>|summer|winter|spring)
  %3 {?e}One (evening|night)
  %3 {?e}One <night_sky> (evening|night)
  {?e}Late one (evening|<weekday>)
  {?e}On a <night_sky> night in <season>
  {?e}After a <weather_good> day
  {?e}After (dinner|supper|a bath|a long day|story time|a bedtime story)
a_day =
  {?d}a <weather_good> <day_part>
  {?d}a <weather_good> <day_part> in <season>
  {?d}a <weather_good> <weekday>
  {?d}a <weather_good> and <weather_good> day
  {?e}a <night_sky> night
  {?e}a <night_sky> night in <season>
  {?e}late on <weekday>
weather_when = sunny|warm|rainy|windy|snowy|cold|cloudy|hot|foggy|dark outside|spring|summer
night_sky = dark|quiet|cold|warm|clear|starry|windy|rainy|stormy|still|moonless|silent|chilly|mild

trait =
  %4 <likes>
  <likes> {h.his} favorite food was {h.food}.
  <likes> {h.he} also loved {h.food}.
  {h.he} was <so> <kind>, and {h.he} loved to <hobby*>.
  {h.he} lived in <dwelling*> with {g}.
  {h.he} lived with {g} in <dwelling*>, and {h.he} loved {h.food}.
  {?k}{h.he} had (a|one) good friend, {f}. <pair_habit>
  Everyone said that {h.he} was <kind> and <kind>.
  {h.he} liked {h.food}, <flower>, and <weather_good> days.
likes =
  {h.he} (loved|liked) to <hobby*>.
  {?k}{h.he} (loved|liked) to <hobby*> with <friend>.
  {h.he} (loved|liked) to <hobby*> and <hobby*>.
  {h.he} liked to <hobby*> every <day_part>.
  More than anything, {h.he} (loved|liked) to <hobby*>.
  Every (day|<weekday>|morning), {h.he} liked to <hobby*>.
  When it was <weather_when>, {h.he} liked to <hobby*>.
pair_habit = They liked to <hobby*> together. | The two of them liked to <hobby*>. | They met every <weekday>. | They often ate <treat> together.

dwelling.child = a (small|big|little|tall|cozy|quiet|yellow|white|red|blue) (house|cottage|house|apartment|farmhouse) (by the sea|near a park|on a hill|in a small town|by the river|near the woods|next to a school|in a big city|at the end of a lane|with a garden)
dwelling.animal = a (cozy|small|warm|little|snug|quiet) {h.home} (near a pond|by the river|in the woods|on a farm|at the edge of a forest|under a big oak|in a green valley|behind a barn|near a village|by a tall pine)
dwelling.toy = a (big|small|quiet|cozy|sunny|messy) (playroom|bedroom|nursery|toy shop|attic) (at the top of the stairs|with a blue rug|full of toys|with a round window|in an old house|with a soft bed)

# where to / where / hiding spots / what one sees / what one does
place.child =
  @outdoors.child
  @indoors.child
outdoors.child =
  the park / in the park / (under the bench|behind the slide|near the swings|by the fountain|under the big tree|behind the bushes|in the sandbox) / (a <animal_friend> on a flower|children on the swings|an old man with a dog|ducks on the water) / (ran on the grass|swung on the swings|slid down the slide|fed the ducks)
  the garden / in the garden / (under the roses|behind the shed|next to the gate|among the <flower>|near the pond|under a flower pot|behind the hedge) / (a <animal_friend> near the <flower>|a row of <vegetable>|wet leaves|a <color> <animal_friend>) / (smelled the <flower>|watered the plants|dug in the dirt|chased butterflies)
  the beach / at the beach / (under a towel|behind a rock|in the sand|near the water|under an umbrella|next to a sand castle|by the boats) / (crabs in the sand|a boat with white sails|tall waves|<color> shells) / (splashed in the waves|built a sand castle|looked for shells|dug a deep hole)
  the forest / in the forest / (behind a log|under the leaves|near the stream|behind a tall tree|in a bush|under a fern|by the old oak) / (a deer between the trees|a <animal_friend> on a branch|mushrooms under a tree|a tall pine) / (climbed on logs|picked berries|listened to the birds|followed a path)
  the farm / on the farm / (behind the barn|under the hay|near the well|by the fence|in the stable|under the tractor|next to the hen house) / (cows in the field|a hen with her chicks|a fat pig in the mud|a red tractor) / (fed the hens|petted the goats|rode on the tractor|jumped in the hay)
  the playground / on the playground / (under the slide|behind the fence|near the swings|in the tunnel|under the seesaw|next to the sandbox|behind the tire) / (children on the seesaw|a <color> slide|a boy with a hoop|girls with a jump rope) / (climbed on the bars|rode the seesaw|slid down the slide|played tag)
  the backyard / in the backyard / (under the porch|behind the shed|by the fence|in the tall grass|near the tree house|under the hose|behind the trash can) / (a <animal_friend> on the fence|laundry on the line|a nest in the tree|ants on the path) / (ran through the sprinkler|swung on the tire|looked for bugs|rolled in the grass)
  the zoo / at the zoo / (under a bench|near the monkeys|behind a sign|by the bear house|next to the gate|by the snack stand|near the elephants) / (a <zoo_animal> and a <zoo_animal>|a sleepy <zoo_animal>|a baby <zoo_animal>|a big <zoo_animal>) / (waved at the <zoo_animal>|looked at the <zoo_animal>|drew the <zoo_animal>|rode the little train)
  the market / at the market / (under a cart|behind a barrel|near the apples|by the fish stand|under a table|next to a crate|behind the flower stand) / (baskets of <food>|a man with a <color> hat|a tower of oranges|bunches of <flower>) / (tasted the <food>|looked at the <food>|counted the <vegetable>|smelled the fresh bread)
  the lake / at the lake / (under the dock|behind a rock|in the reeds|by the boat|in the mud|under a log|near the rope swing) / (a swan on the water|a fish in the reeds|a small boat|frogs on the rocks) / (threw stones in the water|watched the boats|looked for frogs|put {his} feet in the water)
  the meadow / in the meadow / (under the clover|behind a stone|near the fence|by the brook|in the tall grass|under the <flower>|behind the hay) / (a field of <flower>|a <animal_friend> in the clover|sheep on the hill|a lark in the sky) / (picked <flower>|made a flower crown|chased a <animal_friend>|lay in the grass)
  the town square / in the town square / (behind the statue|under the steps|by the fountain|near the bakery|behind the lamp post|under a bench|next to the clock tower) / (a band with drums|pigeons on the roof|a man with balloons|a <stranger> with a bike) / (watched a parade|danced to the music|fed the pigeons|ran around the fountain)
indoors.child =
  the library / at the library / (under a table|behind the shelf|near the door|on a chair|between two books|under the rug|by the window) / (rows of books|a cat on the desk|a big globe|a book about a <zoo_animal>) / (read about a <zoo_animal>|listened to a story|looked at maps|turned the pages)
  school / at school / (under the desk|behind the door|in the closet|near the chalkboard|in the hallway|under the coats|by the fish tank) / (paper stars on the wall|a map of the world|<color> paint|a tank with fish) / (painted a <zoo_animal>|sang a song|learned to count|wrote {his} name)
  the kitchen / in the kitchen / (under the table|behind the stove|in the drawer|next to the sink|under the mat|in the cupboard|behind the broom) / (a bowl of <food>|a pot of <soup> soup|steam on the window|a tray of <food>) / (helped with lunch|washed the <food>|licked a spoon|set the table)

place.animal =
  @outdoors.animal
outdoors.animal =
  the forest / in the forest / (behind a log|under the leaves|near the stream|behind a tall tree|in a bush|under a fern|inside a hollow tree) / (a <animal_friend> on a branch|mushrooms under a tree|a tall pine|yellow leaves) / (jumped over logs|looked for <animal_food>|followed a path|listened to the wind)
  the meadow / in the meadow / (under the clover|behind a stone|near the fence|by the brook|in the tall grass|under the <flower>|behind a bush) / (a field of <flower>|a <animal_friend> in the clover|sheep on the hill|a cloud like a <zoo_animal>) / (ran through the <flower>|chased a <animal_friend>|lay in the grass|smelled the <flower>)
  the pond / at the pond / (under a lily pad|behind the reeds|in the mud|by the old boat|under a log|near the bridge|behind a willow) / (a swan on the water|a fish in the reeds|<color> dragonflies|a <animal_friend> on a leaf) / (splashed in the water|looked for frogs|watched the fish|hid in the reeds)
  the farm / on the farm / (behind the barn|under the hay|near the well|by the fence|in the stable|under the cart|next to the hen house) / (cows in the field|a hen with her chicks|the farmer with a bucket|a red tractor) / (played in the hay|said hello to the hens|ran around the barn|raced the geese)
  the river / by the river / (under a rock|behind a log|in the reeds|near the bridge|in the mud|under the roots|behind the dam) / (a boat with a <color> sail|round stones|a <animal_friend> over the water|silver fish) / (skipped on the stones|drank cool water|watched the boats|played near the bank)
  the hill / on the hill / (behind a rock|under a bush|in the tall grass|near the old wall|by the lone tree|in a hole|under the <flower>) / (the village far below|a <color> kite|a row of trees|a <animal_friend> in the sky) / (rolled down the slope|watched the clouds|picked <flower>|raced to the top)
  the orchard / in the orchard / (under an apple tree|behind a basket|near the gate|in the grass|behind a ladder|by the wall|under a cart) / (ripe pears|a ladder in a tree|a <animal_friend> on a plum|branches full of fruit) / (tasted the <animal_food>|climbed a tree|looked for <animal_food>|rested in the shade)
  the garden / in the garden / (under the roses|behind the shed|next to the gate|among the <flower>|near the well|under a flower pot|behind the hedge) / (a <animal_friend> near the <flower>|a row of <vegetable>|a scarecrow|a <color> <animal_friend>) / (smelled the <flower>|dug in the dirt|nibbled on <animal_food>|hid among the <flower>)
  the jungle / in the jungle / (under a giant leaf|behind a vine|near the waterfall|in a bamboo bush|behind a palm tree|under the ferns|by the muddy river) / (a <color> parrot|a sleepy <zoo_animal>|a <zoo_animal> by the water|long vines) / (swung on the vines|looked for <animal_food>|played in the mud|listened to the <zoo_animal>)
  the snowy field / in the snowy field / (behind a snowbank|under the snow|near the frozen pond|by a pine tree|behind a sled|in a ditch|under a bush) / (icicles on a tree|tracks in the snow|a snowman with a <color> hat|a frozen puddle) / (slid on the ice|made a snowball|rolled in the snow|caught snowflakes)

place.toy =
  the playroom / in the playroom / (under the rug|behind the bookcase|in the toy box|under the chair|behind the curtain|near the dollhouse|between the blocks) / (a tower of blocks|a <color> balloon|a stuffed <zoo_animal>|a row of books) / (raced across the floor|built a tower|danced to a song|played hide and seek)
  the bedroom / in the bedroom / (under the bed|behind the pillow|in the drawer|under the blanket|behind the lamp|in a shoe|near the window) / (a <color> lamp|the moon through the window|a stuffed <zoo_animal>|a pile of socks) / (bounced on the bed|hid under the blanket|climbed up the curtain|slid down the pillow)
  the attic / in the attic / (behind a trunk|under a dusty sheet|in an old hat|behind a mirror|in a box|near the chimney|under the stairs) / (an old mirror|a spider on its web|a <color> trunk|a box of letters) / (explored the boxes|tried on hats|looked through old books|rolled over the boards)
  the toy shop / in the toy shop / (behind the counter|under a shelf|in a paper bag|near the door|behind the kites|under the train table|in the window) / (a wall of kites|a stuffed <zoo_animal>|a <color> top|tiny cars) / (marched along the shelf|rode the train|waved at the puppets|raced the cars)
  the garden / in the garden / (under the roses|behind the shed|next to the gate|among the <flower>|in the grass|under a flower pot|behind the hedge) / (a <animal_friend> near the <flower>|a <color> <animal_friend>|a puddle|a tall flower) / (played among the <flower>|sailed a leaf boat|had a picnic|hid in the grass)

# Beats that every plot may use. `s` is who it is about, `t` whom they face.
very_sad =
  {s} felt <so> <sad>.
  {s} was <so> <sad>, and {he} began to cry.
  {s} sat down <where_sit> and cried.
  Tears rolled down {his} cheeks, and {he} felt <so> <sad>.
  {s} hung {his} head and felt <sad>.
  {his} heart felt <simile_bad>.
  {s} felt so <sad> that {he} did not want to <hobby*>.
  {s} looked at the (ground|sky|clouds|wall|grass) and felt <so> <sad>.
  A (big|small|warm|single) tear rolled down {his} (face|cheek|nose).
where_sit = on a (rock|log|bench|step|stone|box|stump|pile of leaves)|on the (ground|path)|by the (door|gate|wall|window|fence)|under a (tree|bush|table)
very_happy =
  {s} was <so> <happy>.
  {s} was <so> <happy> and {s.joy}.
  {s} {s.joy} because {he} was so <happy>.
  {s} {s.joy}, and {his} eyes were as bright as <bright_thing>.
  {s} felt <simile_good>.
  {s} felt <happy> and <proud>, and {he} {s.joy}.
  {s} {s.joy} and laughed <gladly>.
  {his} heart felt <simile_good>.
  {s} had never been so <happy> before, and {he} {s.joy}.
thank =
  "Thank you <for_what>, {t.call}!" {s} said <gladly>.
  "Thank you so much, {t.call}," said {s} <gladly>. "You are (a|my) <kind> friend."
  {s} (hugged|thanked) {t} and said, "You are so <kind>, {t.call}."
  {s} gave {t} a (big|warm|long|tight|happy) hug and said thank you <gladly>.
  "You are the <best>, {t.call}," said {s}, and {he} hugged {t.him} <hug_how>.
  {s} thanked {t} <thank_how>.
thank_how = with a (big|warm|tight|long) hug|again and again|with a big smile|ten times|with all {his} heart|with a song|with a happy little dance|with a bunch of <flower>|with some <treat>
hug_how = tight|for a long time|with both arms|very hard|again and again|close|with all {his} might|warmly
best = best friend I know|friend I always wanted|best helper in the world|nicest friend I have
for_what = for making me smile|for your idea|for being there|for your time|for your help|for helping me|for being so <kind>|for coming|for everything|for (staying|waiting) with me
thank_g =
  "Thank you, {g.call}," said {h} <gladly>, and {h.he} hugged {g.him} <hug_how>.
  {h} hugged {g} <hug_how> and said, "I love you, {g.call}."
  {h} smiled at {g} and thanked {g.him} <thank_how>.
  "You are the best, {g.call}," {h} said <gladly>.
meet_friend =
  (Just then|At that moment|Soon|A little later), <friend> came (by|along|over). "What is (wrong|the matter), (dear|my friend|) {h.call}?" asked {f} <kindly>.
  <friend> <saw> {h} and <went> over <quickly:f>. "Why are you (so|looking so) <sad>, {h.call}?" {f.he} asked <kindly>.
  <friend> came to see what was (wrong|going on|the matter). "(Can I|May I|Shall I) help you?" asked {f} <kindly>.
  After a while, <friend> <went> by. {f.he} stopped and asked, "Are you (all right|okay|hurt|sad), {h.call}?"
  "What (happened|has happened|went wrong|made you so <sad>), {h.call}?" asked <friend> <kindly:f>. {f.he} looked <so> worried.
  <friend> heard {h} and <went> over. "(Do not|Don't) be <sad>," {f.he} said <kindly>. "(Tell|Show) me what (happened|is wrong|makes you <sad>|went wrong)."
  {?n}A friend named {f} was playing <near_by>. {f.he} came over and asked <kindly>, "Do you need help, {h.call}?"
friend =
  %2 {?n}{f}
  %2 {?n}{h.his} friend {f}
  {?n}{h.his} (good|best|old|dear) friend {f}
  {?f}{f}
help_word = for help|to help {him}|to come along|to lend a hand|to have a look|for an idea
near_by = nearby|<by_what>|close to {h.him}|not far away|around the corner
by_what = by the (wall|fence|path|tree|door|window|stairs|gate)
offer =
  "I will help you <help_more>," said {f} <kindly:f>.
  "(Do not|Don't) worry, {h.call}," {f} said <kindly:f>. "We can do it together <help_more>."
  "Let us do it together," <said> {f} <kindly:f>. "Two friends are (better|stronger|faster|braver) than one."
  "I have an idea," {f} said <gladly:f>. "Come with me, {h.call}."
  {f} thought <for_time>. "I know what to do," {f.he} said <gladly:f>.
  {f} stood next to {h} and said, "We will find a way, {h.call}."
for_time = for a moment|hard|for a while|for a minute|and scratched {f.his} head|and rubbed {f.his} chin
help_more = now|if you like|as long as it takes|because you are my friend|until it is done|today
ask_g =
  {h} <went> to {g} and told {g.him} (everything|all about it|the whole story|what had happened).
  "What should I do, {g.call}?" {h} <asked> <sadly:h>.
  {h} <went> to {g} and asked for (help|advice|an idea|a hint).
  {h} did not know what to do, so {h.he} <went> to {g} <quickly:h>.
  {g} <saw> that {h} was <sad> and sat down <near_g>. "Tell me about it, {h.call}," {g.he} said <kindly:g>.
near_g = next to {h.him}|beside {h.him}|close to {h.him}|on the (floor|step|bench|bed|rug) with {h.him}
no_luck = but it did not (work|help) | but that was not enough | but nothing happened | but it was too hard | but it was no use | but it only got worse
together_fun = They <fun_pair> and <fun_pair> until (the sun went down|it was dark|it was time to go home|dinner time|they were <tired>|the stars came out|the moon came up).
fun_pair = laughed|played|sang|danced|ran around|told stories|played tag|ate <treat>|shared some <food>|played games|made up songs|looked at the clouds|told jokes|hummed|whistled|giggled|danced in a circle|blew bubbles|drew pictures|looked for shells|threw a ball|built a castle|rode a swing|skipped stones|rolled in the grass|counted clouds|made paper hats|played drums|watched the sunset|made a campfire|painted rocks|caught fireflies|flew a kite|played checkers|wrote a poem

close =
  %3 From that day on, {h} <+moral>.
  %2 After that, {h} <+moral>.
  {?d}{h} never forgot that <day_end>, and from then on {h.he} <+moral>.
  {?d}That (night|evening), {h} <night_end>, and {h.he} knew that <learned>.
  {?d}That (night|evening), {h} <night_end>. {h.he} was <so> <happy>.
  %2 {?d}That night, {h} slept <simile_sleep> and dreamed of <dream>.
  {h} and {f} <pair_end>.
  %2 {h} learned that <+lesson>.
  {h} had learned that <+lesson>, and {h.he} felt <simile_good>.
  {?d}"<lesson_said>," said {g} <kindly:g>, and {h} {h.joy}.
  And so {h} <+moral>, and {h.he} was always (happy|glad|cheerful).
  {?d}It was the <best_day> day that {h} had ever had, and {h.he} {h.joy}.
  {?d}They all <all_end>, and {h} was <so> <happy>.
  "This was the <best_day> day ever," said {h} <gladly:h>. ^{f} {f.joy} and agreed.
  {h} (smiled|nodded|was glad), because now {h.he} knew that <+lesson>.
lesson_said = Now you know that <+lesson>|Remember, {h.call}, <+lesson>|You see, {h.call}, <+lesson>
learned = {h.he} was loved|all was well|everything was fine|home was the best place of all|tomorrow would be a <weather_good> day|{h.he} was safe and loved|it had been a <weather_good> day
day_end = <weather_good> day|<day_part>|lesson
best_day = best|happiest|nicest|finest|sweetest|most wonderful|funniest|luckiest|merriest|greatest|loveliest|busiest|strangest|proudest|wildest|brightest|most exciting|most magical
night_end = fell asleep with a smile|lay in {his} (bed|cozy bed|warm bed) and thought about (the day|everything|it all)|slept <simile_sleep>|hugged {g} before bed|told {g} all about (it|the day)|looked at the (stars|moon|night sky)|closed {his} eyes <gladly:h>
simile_sleep = like a (log|baby|stone|bear in winter)|very well|deeply|soundly|all night long
dream = (<color> (balloons|kites|birds|boats|horses|butterflies|clouds|flowers|fish|ships|castles|mountains|islands|rivers|planets|rockets|comets|mermaids|unicorns|fairies|giants|elves|dragons|trains|airplanes|carousels|gardens|oceans)|<food>|<treat>|a <color> <animal_friend>|a friendly <zoo_animal>|a land full of <food>|<flower> and <animal_friend> songs|flying over <home_area>|the next <weather_good> day)
pair_end = (stayed|were|became) (best friends|good friends|close friends) (forever|from that day on|for always|for the rest of their lives|and never fought again|and played every day|and met every <weekday>) | went home (hand in hand|side by side|together|with a song) and ate <treat> | shared some <treat> and <fun_pair> until night | <fun_pair> and <fun_pair> until bedtime | played together every <weekday> from then on
all_end = had <treat> (together|that evening|for supper|in the <place_eat>)|<fun_pair> and <fun_pair>|sat in the (sun|grass|shade|garden|moonlight) and ate <food>|went home for <treat>|sang a song about the (day|sun|moon|rain|spring)|had a little party with <treat>
place_eat = garden|sun|shade|kitchen|grass|moonlight|yard|treehouse|meadow|courtyard|parlor|porch
pair_manner = happily|with joy|out loud|together|for a long time|until their tummies hurt|like never before
"#;
