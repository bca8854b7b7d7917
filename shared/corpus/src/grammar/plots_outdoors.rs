//! Plots under the open sky: weather, animals, ways and races.

pub(super) const RULES: &str = r#"
# A storm comes, and they wait for its end.
storm.bind = {=p outdoors*}{=o shelter}{=c color}
shelter = an old barn / the barn|a small cave / the cave|a little hut / the hut|a hollow tree / the tree|a <color> tent / the tent|an empty shed / the shed|an old bus / the bus|a stone bridge / the bridge|a mill / the mill|a tree house / the tree house|a boat house / the boat house|the house of the <stranger> / the house|a tall tower / the tower|a greenhouse / the greenhouse
storm.wish = have a picnic with <friend>|fly a kite with <friend>|go on a long walk|play outside until dark|sail a {c} boat
storm.start = went for a walk with <friend>|was {p.1} with <friend>|was playing {p.1} with <friend>|had a picnic {p.1} with <friend>|flew a {c} kite {p.1} with <friend>
storm.body =
  They {p.4}. <storm_comes> <storm_scared>~<storm_run> <storm_inside> <storm_wait>~<storm_end> <storm_after>
  <storm_comes> <storm_look>~<storm_run> <storm_scared> <storm_inside>~<storm_end> <storm_after>
  They {p.4}. <storm_comes> <storm_run>~<storm_scared> <storm_inside> <storm_stray> <storm_wait>~<storm_end> <storm_after>
storm_comes =
  Suddenly the sky (turned|got|went|became) <dark>, and the wind began to <blow>.
  Then <dark> clouds came over the <sky_place>, and it began to <rain>.
  But the wind <blew> over the <sky_place>, and the first drops fell on {his} nose.
  All of a sudden there was a (flash|crack|rumble|clap of thunder), and it began to <rain>.
dark = dark|gray|black|purple|as dark as night|stormy
blow = blow|howl|roar|whistle|moan|shake the trees
blew = blew|howled|roared|whistled|rushed
rain = rain|pour|hail|thunder and rain|storm|rain very hard
sky_place = hills|trees|roofs|fields|town|valley|water|mountains|treetops
storm_look =
  "Look at the sky, {f.call}!" <cried> {h} <cry_how>. "We must find a dry place."
  "We have to go home, {f.call}," said {h}, but it was too far.
  {f} looked up and got a drop in {f.his} (eye|ear|mouth). "A storm is coming, {h.call}!" {f.he} <cried> <cry_how:f>.
storm_scared =
  {h} was <scared> of the (thunder|lightning|wind|noise|dark clouds).
  {f} began to (shake|cry|shiver|sob|tremble) (a little|all over|like a leaf|in the cold|at the loud noise). "I am <scared>, {h.call}," {f.he} said <sadly:f>.
  The thunder went (boom|crash|bang|rumble), and {h} held on to {f}.
  {f} was <scared>, but {h} said, "I will stay with you, {f.call}."
storm_run =
  They ran and ran until they saw {o}. "(In here|Over there|This way|Look, {o}|Quick), {f.call}!" <cried> {h} <cry_how>.
  {f} pointed to {o}. They <went> inside <quickly:f>.
  Not far away was {o}. They got there with wet (feet|hair|ears|faces|noses|backs).
  "I know {o.1} near here," said {f}. They <went> there through the <mud>.
mud = mud|rain|puddles|wet grass|wind|tall grass
storm_inside =
  It was dry in {o.1}, and they sat close together to keep warm.
  In {o.1} they found (some hay|an old blanket|a lamp|a dry log|some straw|two boxes) and sat down.
  They shared some <food> in {o.1} and listened to the rain.
  They told each other stories about <dream>.
storm_stray =
  In the corner sat {x.intro}. It was wet and <scared> too, so they made room for it.
  Then {x.intro} came in out of the rain. "You can stay with us, {x.call}," {h} said <kindly>.
storm_wait =
  {h} sang a song about the <color_rain>, and {f} hummed along.
  They counted (to <number>|slowly|out loud) between the flash and the thunder. "The storm is going away," said {f} <gladly:f>.
  They made up names for the clouds and laughed <pair_manner>.
  "Thunder is only a big drum in the sky," {h} said <kindly>. ^{f} smiled a little.
color_rain = rain|sun|moon|wind|snow|sea|stars|spring
storm_end =
  At last the rain stopped, and the sun came out over the <sky_place>.
  After <wait_time>, the wind grew quiet, and the sky was blue again.
  Then the (storm|wind|thunder|rain) (went away|moved on|was gone|passed|was over). There was a big rainbow over the <sky_place>!
  When they looked out, the <sky_place> shone in the sun.
storm_after =
  They jumped in the puddles and <went> home to {g}.
  "We (made it|are safe|are home|did it), {f.call}!" {h} <cried> <cry_how>. ^They <fun_pair> all the way home.
  {g} came to look for them and gave them <treat>.
  {g} was <so> <happy> to see them. "I was worried about you, {h.call}," {g.he} said.
  <very_happy> <together_fun>
storm.moral = was not afraid of storms|liked the sound of the rain|always looked at the sky first|took a {c} umbrella on every walk|loved to look for rainbows
storm.lesson = every storm comes to an end|a storm is not so bad with a friend|after the rain comes the sun|friends keep each other safe|it is good to look after each other

# A hungry animal is fed.
hungry.bind = {=p outdoors*}{=c color}
hungry.wish = have a pet|find a new friend|see a wild animal up close|help every animal {p.1}
hungry.start = heard a small sound and <saw> {x.intro} {p.2}|saw {x.intro} {p.1}|<saw> {x.intro} {p.2}|was {p.1} when {x.intro} <hungry_came> by|met {x.intro} on the way to {p}
hungry_came = came|crept|wandered|walked|stumbled
hungry.body =
  <hungry_look> <hungry_feel>~<hungry_offer> <hungry_shy> <hungry_wait>~<hungry_eat> <hungry_friend>
  <hungry_look> <hungry_ask> <hungry_feel>~<hungry_g> <hungry_bring>~<hungry_eat> <hungry_friend> <thank_g>
  <hungry_look> <hungry_feel>~<meet_friend> <hungry_tell> <hungry_bring>~<hungry_eat> <hungry_friend>
hungry_look =
  {x} was <thin> and <thin>.
  {x} looked <thin> and <thin>, and it had nothing to eat.
  {x} was all alone and <thin>.
  {x} looked at {h} with (big|round|dark|sad|hungry|bright) eyes. It was <thin>.
  It was <thin>, and there was nobody to take care of it.
thin = thin|cold|hungry|weak|wet|dirty|lonely|tired|afraid|dusty
hungry_ask =
  "Are you hungry, {x.call}?" {h} asked <kindly>.
  "Where is your {x.home}, {x.call}?" {h} asked <kindly>.
  "(Do not|Don't) be afraid, {x.call}," {h} said <kindly>.
hungry_feel =
  {h} felt <sad> for {x} and wanted to help.
  "You poor thing, you must be <so> hungry," {h} said <kindly>.
  {h} knew how it felt to be (hungry|<thin>|all alone|<thin>). {he} wanted to find {x.food} for {x}.
  {his} own tummy was (full|empty|rumbling) too, but {he} thought only of {x}.
hungry_offer =
  {h} <went> to get {x.food} and (came back soon|hurried back|came back with a full bowl|was back in a minute).
  {h} put down {x.food} <by_what> and (waited|stepped back|sat down|kept very still).
  "You can have {x.food}, {x.call}," {h} said <kindly>.
hungry_shy =
  But {x} was <scared> and hid {p.2}.
  {x} took one step and then ran {p.2}.
  At first {x} was too <scared> to come near.
hungry_wait =
  {h} sat very still and waited for <wait_time>.
  "I will wait for you, {x.call}," {h} whispered and sat down <where_sit>.
  {h} hummed a song and did not move at all.
hungry_g =
  {h} ran to {g}. "There is {x.intro}, and it is hungry!" {he} <cried> <cry_how>.
  {h} told {g} about {x}. "Can we feed it, {g.call}?" {he} asked <kindly>.
  "Please come, {g.call}," said {h}. "{x} needs our help."
hungry_bring =
  They got {x.food} and a {c} bowl with water.
  "We have {x.food} at home," said {g} <kindly:g>. ^They <went> to get it.
  {h} <went> home and came back with {x.food}.
  Together they <looked> for {x.food} {p.2} until they had enough.
hungry_tell =
  {h} pointed to {x}. "It is hungry, and I want to feed it," {he} said.
  "{x} has nothing to eat," said {h} <sadly>. ^{f} wanted to help too.
hungry_eat =
  {x} sniffed at the food and ate it all up. Then it {x.joy}.
  {x} ate and ate until its tummy was round. Then it {x.joy}.
  {x} came close and took a (tiny|small|big|careful) bite. It liked the food so much that it {x.joy}.
  Soon the food was gone, and {x} {x.joy}.
hungry_friend =
  "I will call you <pet_name>," said {h} <gladly>. ^{x} seemed to like the name.
  {h} petted it <gently>, and {x} was not afraid any more.
  After that, {x} {x.moved} next to {h} all the way home.
  {x} sat down next to {h}, and they looked at <view> together.
  The next day {x} came back and brought {h} a {c} <gift_small>.
pet_name = Button|Cloud|Crumb|Star|Pebble|Acorn|Noodle|Pumpkin|Puddle|Marble|Feather|Cocoa|Mango|Snowball|Jelly|Toffee|Bean|Lucky|Sunshine|Moonlight|Biscuit Crumb|Tumble|Pudding|Whisper|Maple Leaf|Thunder|Ember|Peanut|Sprout|Doodle|Zigzag|Tiptoe|Velvet Nose|Chestnut
gift_small = feather|stone|leaf|flower|button|berry|shell|nut|ribbon
view = the clouds|the moon|the water|the sunset|the trees|the hills|the stars
hungry.moral = fed {x} every (day|morning|evening)|always kept {x.food} for {x}|looked after every hungry animal|visited {x} every <weekday>|played with {x} {p.1}
hungry.lesson = a small gift can make a new friend|it is good to be kind to animals|you must be gentle and wait|helping others makes you happy|a full heart is better than a full plate

# Lost on the way, and home again.
astray.bind = {=c color}{=o lure*}
lure.child = {c} butterfly|big balloon|funny clown|little puppy|man with a drum|shiny beetle|gray rabbit|parade|cart full of toys|street band|dancing bear|toy shop window
lure.animal = {c} butterfly|buzzing bee|jumping cricket|shiny beetle|rolling apple|trail of crumbs|rainbow|falling leaf|singing bird|glowing firefly|silver fish|floating feather
lure.toy = {c} butterfly|sunbeam|rolling marble|ladybug|soap bubble|trail of crumbs|flying feather|spot of light|sleepy moth|ball of yarn
astray.wish = see the whole world|go to {p} alone|find out where the <path_kind> went|explore {p}|have a big adventure
path_kind = path|river|road|stream|trail|track|lane|alley|highway|railroad|footpath|creek
astray.start = was {p.1} with {g} and saw a {o}|ran after a {o} {p.1}|followed a {o} a long way|went to {p} with {g} and followed a {o}|walked behind a {o} and did not look back
astray.body =
  <astray_far> <astray_lost> <astray_sad>~<astray_meet> <astray_ask> <astray_way>~<astray_home> <astray_said>
  <astray_far> <astray_lost>~<astray_sad> <astray_think> <astray_stay>~<astray_home> <astray_said>
  <astray_far> <astray_lost> <astray_try> <astray_sad>~<astray_meet> <astray_way>~<astray_home> <astray_said>
astray_far =
  {h} went past <landmark> and past <landmark>.
  {he} went left at <landmark> and right at <landmark>.
  {he} did not look back, and soon {he} was far away from <landmark>.
  {he} walked and walked until {he} came to <landmark>.
landmark = a <color> (house|door|gate|tent|wall|fence|flag|sign|rock)|the old (mill|bridge|well|tower|barn|church|statue|oak|castle|temple|windmill|lighthouse|museum|theater|bakery|station|schoolhouse|harbor|fort|palace|hotel)|a tall (tree|tower|fence|hedge|lamp|pole|stack of boxes)|a row of (trees|chairs|shops|boxes|stones|pots|barrels|carts|statues|lanterns|benches|tents|cabins|poplars|willows|maples|birches)
astray_lost =
  When {h} turned around, {he} did not know where {he} was.
  Then the {o} was gone, and so was {g}.
  (Nothing|No house|No tree|No path|No road) looked like home. {h} was (lost|all alone|lost and alone|far from home|very lost).
  "Where am I, and where is {g.call}?" {h} said <sadly>.
astray_sad =
  {h} was <scared> and called for {g}, but nobody answered.
  {h} felt <so> <scared>, and {his} heart felt <simile_bad>.
  {h} sat down <where_sit> and felt <scared> and <sad>.
  It was getting (dark|late|cold|foggy|very late|darker and darker), and {h} was <scared>.
astray_try =
  {h} tried one way and came to <landmark>. {he} tried another way and came to <landmark>.
  {he} climbed on <landmark> to look around, but it was no use.
astray_think =
  Then {h} remembered what {g} had told {him}. "When you are lost, stay where you are and call," {g} had said.
  "I must be <brave_calm>," {h} thought <for_h>. "{g.call} will look for me."
  {h} wiped {his} eyes and tried to think. "I came past <landmark>," {he} said.
brave_calm = brave|calm|quiet|patient|strong|clever
astray_stay =
  So {h} stayed by <landmark> and sang a loud song.
  {h} waited near <landmark> and called, "I am here, {g.call}!"
  {h} tied a {c} ribbon to a branch, so that {g} could see it.
  {h} (drew|made) a big arrow on the ground and waited <where_sit>.
astray_meet =
  Then {f} came along the <path_kind>. "(Are you lost|Do you need help|Did you lose your way|Is something wrong)?" asked {f} <kindly:f>.
  A (soft|small|kind|friendly|deep|quiet) voice said, "Hello, my name is {f.call}. Why are you <sad>?"
  By <landmark> stood {f}. {f} saw that {h} was <sad>.
astray_ask =
  "I can't find my way home," said {h} <sadly>.
  {h} told {f} about the {o}.
  "I followed the {o}, and now I am lost," said {h} <sadly>.
astray_way =
  "I know the way," said {f} <kindly:f>. "We go past <landmark> and then past <landmark>."
  {f} took {h} along the <path_kind> and past <landmark>.
  "Come with me, {h.call}," said {f} <kindly:f>. ^{f.he} knew every <path_kind> {p.1}.
  {f} had a (map|compass|lamp|whistle|little cart) and showed {him} the way.
astray_home =
  At last {h} saw {g} by <landmark> and ran to {g.him}.
  There was {g}! {h} {h.moved} to {g.him} and got a <hug_kind> hug.
  Soon {he} heard a voice. It was {g}, who had looked for {him} <look_where>.
  After a while {g} came around the corner and hugged {him} <hug_how:g>.
look_where = everywhere|all <day_part>|behind every tree|in every corner|up and down the <path_kind>
astray_said =
  "I will never run off again, {g.call}," said {h}.
  "I am <so> glad that you are safe, {h.call}," {g} said <kindly:g>. {h} hugged {g.him} <hug_how>.
  "Stay close to me next time, {h.call}," said {g} <kindly:g>. ^They went home and had <treat>.
  {h} told {g} all about the {o}, and {g} laughed <gladly:g>.
astray.moral = stayed close to {g}|always told {g} where {he} went|never ran after a {o} again|knew the way home by heart|looked back on every walk
astray.lesson = you should stay close to those you love|it is good to stay calm when you are lost|home is the best place of all|a kind stranger can become a friend|you should tell someone where you go

# A contest, where winning is not all.
contest.bind = {=w prize}{=k color}{=o event*}{=c color}
event.child = a running race / run / ran|a swimming race / swim / swam|a drawing contest / draw / drew|a singing contest / sing / sang|a kite contest / fly {his} kite / flew {his} kite|a dance contest / dance / danced|a spelling game / spell / spelled long words|a sack race / hop / hopped in a sack|a sand castle contest / build / built a castle|a boat race / row / rowed|a jumping contest / jump / jumped|a bike race / ride {his} bike / rode {his} bike|a ball game / kick the ball / kicked the ball|an egg race / walk with an egg / carried the egg
event.animal = a running race / run / ran|a swimming race / swim / swam|a singing contest / sing / sang|a jumping contest / jump / jumped|a digging contest / dig / dug|a climbing race / climb / climbed|a dance contest / dance / danced|a nest building contest / build / built a nest|a leaf boat race / sail / sailed a leaf boat|a rolling race / roll / rolled
event.toy = a rolling race / roll / rolled|a dance contest / dance / danced|a marching contest / march / marched|a tower contest / stack blocks / stacked the blocks|a jumping contest / jump / jumped|a singing contest / sing / sang|a hat contest / make a hat / made a hat
contest.wish = win {o}|be the best in {o}|win a {c} (prize|ribbon|medal|cup|star)|show everyone how well {he} could {o.1}
contest.start = heard about {o} {p.1}|wanted to win {o}|saw a {c} sign about {o}|got ready for {o} with <friend>|went to {p} for {o}
contest.body =
  <contest_prize> <contest_practice>~<contest_day> <contest_fall> <contest_help>~<contest_end> <contest_cheer>
  <contest_prize> <contest_boast> <contest_practice>~<contest_day> <contest_turn>~<contest_end> <contest_cheer>
  <contest_prize> <contest_nervous> <contest_practice>~<contest_day> <contest_end> <contest_cheer>
contest_prize =
  The prize was a {k} {w}.
  The winner would get a {k} {w}, and {h} wanted it <so> much.
  "If I win, I will get a {k} {w}," {h} said <gladly>.
  Everyone talked about the prize, a {k} {w}.
prize = ribbon|medal|cup|crown|star|hat|bike|basket of apples|box of cookies|jar of honey|bag of nuts|flag|drum|kite|book|bell|cake|trophy|certificate|wooden spoon|scooter|pumpkin|globe|wreath|sash|shield|goblet|sled|pony ride|puppet|toy sword|telescope
contest_practice =
  {h} and {f} practiced (hard|together|for hours|over and over|day after day|for a long time|until it was dark|side by side|with {g}).
  Every <day_part>, {h} practiced <by_what>, and {f} helped {him}.
  {f} wanted to {o.1} too, so they practiced together <by_what>.
  "You have to practice every <day_part>," said {g} <kindly:g>, and {h} did.
contest_boast =
  "Nobody can {o.1} like me," {h} said <proudly> to {f}.
  {h} laughed at {f}. "You are too slow, {f.call}," {he} said.
  "I will win, and you will lose, {f.call}," said {h}. ^{f} felt <sad>.
proudly = proudly|loudly|with a grin|with {his} nose in the air
contest_nervous =
  {h} was <scared> that everyone would laugh.
  "What if I come last, {g.call}?" {h} asked <sadly>. "Then you will still be my {h.look} {h.noun}," said {g}.
  {his} tummy felt funny, and {his} knees were shaky.
contest_day =
  On the big day, (everyone|the whole village|the <stranger>|many people) came to (watch|see it|cheer). "(One, two, three|Ready, set|On your marks, get set), go!" <cried> the <stranger>.
  On <weekday>, the <stranger> blew a (whistle|horn), and they all began.
  (At last|Then|After <plant_weeks>) the (day|<day_part>|<weekday>) of the contest came. {h} {o.2} as well as {he} could.
  When the <stranger> rang a bell, {h} {o.2}, and {f} did too.
contest_fall =
  Suddenly {f} <fell> and hurt {f.his} (knee|foot|elbow|leg|arm|toe).
  But then {h} heard a cry. {f} had <fallen>!
  In the middle of it, {f} <fell> and began to cry.
fell = fell|slipped|tripped|stumbled
fallen = fallen in the mud|slipped on the grass|tripped over a stone|stumbled and bumped {f.his} head
contest_help =
  {h} was in front, but {he} turned back. "Are you hurt, {f.call}?" {he} asked <ask_how>.
  {h} stopped at once. "A friend is more important than a {k} {w}," {he} thought <for_h>.
  {h} could have won, but {he} <went> back to help {f} up.
contest_turn =
  But {h} was too sure of {himself}. {he} stopped to <hobby*>, and {f} went past.
  {h} looked back to see where {f} was. Then {he} <fell>, and {f} <helped_up>.
  {f} {o.2} so well that everyone cheered. {h} had never seen anything like it.
helped_up = helped {him} up|came back to help|held out a hand|stopped to help {him}
contest_end =
  (In the end|At last|When it was over|This time) the winner was {f}. {h} was <sad> for a moment, but then {he} clapped for {f}.
  They (finished|ended|were done) (together|side by side|at the same time|in the same moment). Both of them got a {k} {w}!
  In the end {h} came in (last|third|second|fourth), but {he} had a lot of fun.
  The <stranger> gave {h} a {k} {w} for being so <kind>.
  {h} won (the {k} {w}|the prize|first prize)! {he} shared it with {f}, because {f.he} had helped {him}.
contest_cheer =
  "You did <so> well, {h.call}," said {g} <gladly:g>.
  Everyone cheered for {h} and {f}, and the <stranger> gave them <treat>.
  "Well done, {f.call}," said {h} and <shook>.
  {g} was <so> <proud> of {h} and gave {him} <treat>.
  <very_happy>
shook = gave {f} a <hug_kind> hug|{h.joy}|clapped for {f.him}
contest.moral = cheered for {his} friends in every contest|liked to {o.1} just for fun|practiced with {f} every <weekday>|never laughed at others again|helped anyone who fell down
contest.lesson = it is not important to win|a friend is the best prize|it is good to try your best|you should not boast|you can be happy when a friend wins

# A seed in the earth.
plant.bind = {=o vegetable}{=c color}
plant.wish = grow a {o}|have a garden full of {o.1}|see a {o} grow|grow something <taste>|give {g} some {o.1}
plant.start = found a tiny seed {p.2}|got a seed from {g}|put a little seed in {his} pocket|wanted to grow some {o.1}|saw a field of {o.1} and wanted to grow one too
plant.body =
  <plant_put> <plant_wait> <plant_sad>~<ask_g> <plant_advice> <plant_care>~<plant_grow> <plant_big> <plant_share>
  <plant_put> <plant_care> <plant_wait>~<plant_trouble> <plant_rescue>~<plant_grow> <plant_big> <plant_share>
plant_put =
  {h} dug a (small|little|deep|round) hole <garden_where> and put the seed in it.
  {h} put the seed in a {c} pot with some <soil>.
  "What is this (seed|thing|little seed)?" asked {h} <ask_how>. "It is a {o} seed," said {g} <kindly:g>. ^They put it in the ground <garden_where>.
  {h} planted the {o} seed <garden_where> and gave it some water.
garden_where = by the (fence|wall|gate|pond|path|door|well)|in the (garden|sun|field|yard)|near the (house|barn|hedge|trees|stream)
soil = dark earth|soft soil|good dirt|warm sand
plant_wait =
  {he} looked at it every <day_part>, but nothing came up.
  {h} waited for <plant_days>, but there was only <soil>.
  "Why does (it|the {o}|the seed|my {o}) take so long?" {h} asked after <plant_days>.
plant_days = one day|two days|three days|a week|five days|four days
plant_sad =
  "My {o} will never grow," {h} said <sadly>.
  {h} was <sad> and wanted to give up.
  {h} felt <cross> and wanted to dig up the seed.
plant_advice =
  "A seed needs water, sun, and time," {g} said <kindly:g>.
  "You can't see it, but it is growing under the ground," said {g} <kindly:g>.
  "Be patient, {h.call}," {g} said <kindly:g>. "Good things (are slow|take time|need time|come slowly)."
plant_care =
  Every <day_part>, {h} gave it water and <plant_did>.
  So {h} watered it and <plant_did>.
  {h} pulled out the weeds and <plant_did>.
plant_did = sang to it|told it a story|said good night to it|kept the (crows|snails|worms|beetles|mice|birds) away|put a little fence around it|talked to it <kindly>|chased off the crows
plant_trouble =
  But one night there was (frost|a storm|hail|a strong wind), and the little plant <bent>.
  Then it did not rain for <plant_weeks>, and the little plant <bent>.
  But a hungry <animal_friend> found it, and the little plant <bent>.
plant_weeks = a week|ten days|two weeks|a long time|a whole month
bent = bent over|looked weak|lost a leaf|turned yellow|hung its head
plant_rescue =
  {f} came with a (bucket|stick|cup|blanket|rope), and together they helped the plant to stand.
  "(Do not|Don't) give up," said {f} <kindly:f>. ^They put (straw|a pot|a cloth|leaves) over the plant to keep it safe.
  {h} asked {f} <help_word>. They carried water <garden_where> until the plant stood up again.
plant_grow =
  One <day_part>, there was a tiny green leaf. "Look, {g.call}, it is growing!" {h} <cried> <cry_how>.
  After <plant_weeks>, the plant was as tall as {h}.
  First there was one leaf, then there were <number> leaves, and then the plant was as high as <plant_high>.
number = two|three|four|six|seven|eight|ten|twenty
plant_high = the fence|a chair|the window|a bucket|a table|the gate|the roof of the shed
plant_big =
  By the end of (spring|summer|autumn|the year), there were <number> <big_look> {o.1}.
  At last it was full of {o.1}, and they were as bright as <bright_thing>.
  And then came the {o.1}, <number> of them, and all of them were <big_look>.
plant_share =
  {h} gave {o.1} to {f}, to {g}, and to the <stranger>.
  {h} picked the <big_look> one and gave it to {g}. "I grew it myself," {he} said <gladly>.
  "You were <so> patient, {h.call}," said {g} <kindly:g>. {h} {h.joy}.
  They had a {o} party and <fun_pair>.
plant.moral = grew {o.1} every (spring|summer|year)|took care of {his} garden|was patient and <kind>|gave seeds to all {his} friends|watered the plants every <day_part>
plant.lesson = good things take time|a small seed can become something big|you must be patient|love and water make things grow|you should not give up

# Something big is found. Whose is it?
found.bind = {=w stranger}{=o find}{=c color}
find = box / full of {c} beads / the {w} / open the box|egg / warm and round / a {c} bird / warm the egg|bag / full of coins / the {w} / look into the bag|hat / with a {c} feather / the {w} / try on the hat|key / made of iron / the {w} / try the key|book / with {c} pictures / the {w} / read the book|basket / full of berries / the {w} / taste the berries|bell / made of brass / the {w} / ring the bell|shell / as smooth as glass / a {c} crab / listen to the shell|umbrella / with {c} dots / the {w} / open the umbrella|boot / made of leather / the {w} / hide in the boot|drum / with a {c} rope / the {w} / beat the drum|feather / as long as an arm / a {c} bird / wave the feather|balloon / with a long string / a little boy / hold the balloon|ball / with {c} stripes / a little boy / kick the ball|mirror / with a {c} frame / the {w} / look into the mirror|lamp / made of glass / the {w} / rub the lamp|bone / under some leaves / an old dog / hide the bone|jar / full of honey / the {w} / open the jar|chest / with an iron lock / the {w} / open the chest|stone / that shone in the sun / an old turtle / lift the stone|wheel / made of wood / the {w} / roll the wheel|coat / with {c} buttons / the {w} / try on the coat|horn / made of gold / the {w} / blow the horn|kite / with a {c} tail / a little boy / fly the kite
found.wish = find a treasure|find a big {o}|have something nobody else had|go out and look for treasure|explore {p}
found.start = %9 found a big {o} {p.1}|%2 found a <big_look> {o} {p.2}|saw something big {p.2}, and it was a {o}|tripped over a big {o} {p.1}|%2 found a big {c} {o}
found.body =
  <found_look> <found_want>~<found_ask> <found_search>~<found_owner> <found_back> <found_thanks>
  <found_look> <found_want> <meet_found>~<found_ask> <found_search>~<found_owner> <found_back> <found_thanks>
  <found_look> <found_play> <found_g>~<found_search> <found_owner>~<found_back> <found_thanks>
found_look =
  It was a <big_look> {o} {o.1}.
  The {o} was <big_look>, and it was {c}.
  {h} had never seen a {o} like that.
  "Wow, what a <big_look> {o}!" {h} <cried> <cry_how>.
  It was {c}, and it was so <big_look> that {h} could not lift it.
found_want =
  {h} wanted to {o.3}, and {he} wanted to keep it.
  "Can I keep (it|the {o}|this {o})?" {h} thought <for_h>. {he} wanted to {o.3} <so> much.
  {h} was <so> <happy> and began to {o.3}.
  "I want to {o.3} right now," {h} said <gladly>.
meet_found =
  {f} came along and looked at the {o} with big eyes.
  "What do you have there, {h.call}?" asked {f} <kindly:f>.
  Then {f} came by. "That is a <big_look> {o}, {h.call}," {f.he} said.
found_ask =
  "But whose {o} is it?" {h} asked {f} <kindly:f>.
  Then {h} thought, "Maybe someone is <sad> because the {o} is gone."
  "I think someone lost this {o}," said {f}. "We should (give it back|find the owner|ask around|look for the owner)."
  {h} saw a name on the {o}. "It is not mine," {he} said <sadly>.
found_play =
  {h} pulled the {o} {p.2} and began to {o.3}.
  All <day_part>, {h} wanted to do nothing but {o.3}.
  {h} hid the {o} {p.2}, so that nobody could see it.
found_g =
  {g} saw the {o}. "It is <big_look>, but is it yours, {h.call}?" {g.he} asked <kindly:g>.
  {h} showed the {o} to {g}. "Someone may be looking for it," {g} said <kindly:g>.
  "How would you feel if you lost your {o}?" {g} asked <kindly:g>.
found_search =
  So {h} asked the <stranger> and the <stranger>, but it was not theirs.
  They put up a {c} sign about the {o} and waited for <wait_time>.
  They went from (door to door|house to house|tree to tree) and asked about the {o}.
  {h} took the {o} and <went> to look for its owner.
found_owner =
  At last they met {o.2}. "That is my {o}!" {o.2} <cried> (at once|loudly|with joy|in surprise|with tears of joy|and laughed|and took it). "I looked for it <look_where>."
  The {o} belonged to {o.2}, who had looked for it <look_where>.
  (Then|Soon|After <wait_time>|On the way home|Near <landmark>|By <landmark>) they heard someone cry. It was {o.2}. "My {o} is gone," said a <sad> voice.
found_back =
  {h} gave the {o} back <gladly>.
  "Here is your {o}," said {h} and gave it back.
  It was hard to give back the {o}, but {h} did it <gladly>.
found_thanks =
  "You are <so> <kind>, {h.call}," said the <happy> owner. "You may {o.3} every <weekday>."
  The owner was <so> <happy> and gave {h} <food> and a <color> <gift_small>.
  "Thank you, you <kind> {h.noun}," said the owner and gave {him} some <treat>.
  The owner let {h} and {f} {o.3}, and they laughed <pair_manner>.
found.moral = always gave back what {he} found|looked for treasure with {f}|was known as a <kind> {h.noun}|asked everyone before {he} took anything|kept {his} eyes open {p.1}
found.lesson = it is good to give back what is not yours|being honest makes everyone happy|finding a friend is better than finding a treasure|what you find may belong to someone|a good deed comes back to you

# Something is stuck in a high place.
stuck.bind = {=p outdoors*}{=o stuck_thing}{=c color}{=q high}
stuck_thing = kite|ball|balloon|hat|frisbee|toy plane|scarf|feather|paper bird|shoe|umbrella|flag|ribbon|teddy bear|blanket|cap|toy rocket|shuttlecock|sock|bucket
high = tree / in a tall tree|roof / on the roof|wall / on a high wall|well / in a deep hole|hedge / in a thick hedge|rock / on a steep rock|pole / on a tall pole|pond / in the middle of the pond|bush / in a thorny bush|tower / on the old tower|barn / on top of the barn|branch / on a thin branch|chimney / by the chimney
stuck.wish = throw {his} {c} {o} very high|play with {his} {c} {o}|show <friend> {his} new {o}|see how high {his} {o} could go
stuck.start = played with {his} {c} {o} {p.1}|threw {his} {c} {o} high in the air|took {his} new {o} to {p}|was {p.1} with {his} {c} {o}
stuck.body =
  <stuck_how> <stuck_sad> <stuck_try>~<meet_friend> <stuck_tell> <stuck_idea>~<stuck_team> <stuck_got> <thank:h,f>
  <stuck_how> <stuck_try> <stuck_try>~<stuck_sad> <stuck_stranger>~<stuck_team> <stuck_got> <together_fun>
stuck_how =
  Then the wind <blew>, and the {c} {o} got stuck {q.1}.
  But the {o} went too (high|far|fast), and it landed {q.1}.
  Suddenly the {o} was stuck {q.1}.
  "Oh no, my {o} is {q.1}!" {h} <cried> <cry_how>.
stuck_sad =
  {h} looked at the {c} {o} and felt <sad>.
  "How can I get my {o} back?" {h} said <sadly>.
  "My {c} {o} is gone for good," {h} said <sadly>.
stuck_try =
  {h} jumped as high as {he} could, <no_luck>.
  {h} threw a (stick|stone|shoe|pine cone|stone and a stick), <no_luck>.
  {he} tried to reach it with a (stick|broom|long branch|rake|rope), <no_luck>.
  {he} tried to climb, but {he} was too (small|short|heavy|weak|slow).
stuck_tell =
  "My {c} {o} is {q.1}," said {h} <sadly>.
  {h} pointed to the {o} {q.1}.
  "I can't reach my {o}," {h} said <sadly>.
stuck_idea =
  "You are <small_strong>, and I am <small_strong>," said {f}. "Together we can (do it|reach it|get the {o}|do anything)."
  "If you stand on my back, you can reach it, {h.call}," {f} said <gladly:f>.
  {f} looked at the {o} and had an idea. {f.he} got a (ladder|rope|net|long pole|box|fishing rod).
small_strong = small|strong|tall|light|fast|clever|quick
stuck_stranger =
  {f} and the <stranger> came by. "Let us help you," said {f} <kindly:f>.
  Then {f} came with a (ladder|rope|net|long pole|box|fishing rod).
  {h} asked {f} <help_word>. "Of course I will help you, {h.call}," {f} said <kindly:f>.
stuck_team =
  {h} held on <hard_hold>, and {f} reached for the {o}.
  {f} held {h} <hard_hold:f>, and {h} reached (higher and higher|up|out|for the {o}).
  They pulled and pushed <together_hard>.
  "A little more to the (left|right), {f.call}!" {h} <cried> <cry_how>.
hard_hold = tight|with both arms|as well as {he} could|with all {his} might
together_hard = together|as hard as they could|on the count of three|with all their might
stuck_got =
  At last the {c} {o} came down, and {h} {h.joy}.
  (Plop|Bump|Whoosh|Snap), the {o} fell right onto {his} head, and they both laughed.
  "We got the {o}!" they <cried> and danced around the {q}.
  Then the {o} was free, and {f} gave it back to {h}.
stuck.moral = played with the {o} far away from the {q}|asked for help when something was too hard|held {his} {o} tight|shared the {o} with {f}|looked up at the {q} and smiled
stuck.lesson = two can reach higher than one|it is good to ask for help|friends can do hard things together|a clever idea is better than strong arms|you should not give up too soon

# Something is built together.
build.bind = {=o building*}{=c color}
building.child = tree house / some boards / a nail|sand castle / wet sand / a shovel|snowman / lots of snow / a carrot|boat / an old box / a sail|bird house / thin wood / a hammer|blanket fort / chairs and pillows / a rope|raft / long logs / strong string|go-cart / four wheels / a steering wheel|swing / rope and a board / a strong knot|robot suit / cardboard boxes / silver paper|doghouse / wood and nails / a roof|paper rocket / paper and glue / a cone|little bridge / flat stones / a long plank|scarecrow / straw and sticks / an old coat
building.animal = nest / twigs and grass / soft feathers|dam / sticks and mud / a big log|hut / branches and leaves / a roof|boat / bark and leaves / a sail|bridge / long branches / a vine|winter house / stones and moss / a door|swing / a vine and a board / a strong knot|raft / long logs / strong grass|tunnel / small stones / a branch to hold it up|tree house / bark and twigs / a ladder
building.toy = castle / blocks and books / a flag|tower / blocks and boxes / one more block|tent / a sheet and two chairs / a clip|bridge / rulers and cups / a long spoon|boat / a shoe box / a paper sail|house / cards and books / a roof|rocket / cups and paper / a cone|stage / boxes and a cloth / a curtain
build.wish = build a {o}|have a {o} of {his} own|build the best {o} in the world|make a {o} with <friend>|have a secret place
build.start = wanted to build a {o}|had an idea for a {c} {o}|asked <friend> to help {him} build a {o}|found {o.1} and thought of a {o}|drew a plan for a {o}
build.body =
  <build_get> <build_work>~<build_fall> <very_sad> <build_again>~<build_need> <build_done> <build_use>
  <build_alone> <build_fall>~<meet_friend> <offer> <build_get> <build_work>~<build_done> <build_use> <thank:h,f>
  <build_get> <build_fight> <build_fall>~<build_sorry> <build_again>~<build_done> <build_use>
build_get =
  They needed {o.1}, so they <looked> {p.2}.
  {f} brought {o.1}, and {h} brought {o.2}.
  "First we need {o.1}," said {h}. "And then we need {o.2}," said {f}.
  {g} gave them {o.1} and said, "Be careful, {h.call}."
build_work =
  {h} held it, and {f} <built_did>.
  They worked <build_how>. {f} <built_did>, and {h} <built_did>.
  They sang a song about the <color_rain> while they worked on the {o}.
built_did = carried everything|pushed and pulled|measured it twice|made it strong|found more wood|checked the corners|painted it {c}|counted the pieces|put it all in place|tied a knot
build_how = all <day_part>|for hours|side by side|without a break|until they were hungry|in the hot sun|very carefully
build_alone =
  At first {h} wanted to do it alone. {he} got {o.1} and began.
  "I do not need any help," {he} said and began to build with {o.1}.
  {h} worked <hard> with {o.1}, but it was a lot of work for one.
build_fall =
  But then the {o} <collapsed>.
  Suddenly the wind <blew>, and the {o} <collapsed>.
  When {h} touched it, the {o} <collapsed>. (Crash|Bang|Thump|Bump|Boom), it was gone!
  The {o} was almost done, but then it <collapsed>.
collapsed = fell down|fell apart|fell over|tipped to one side|broke in the middle|began to shake and fell
build_fight =
  {h} wanted a {c} {o}, but {f} wanted a <color> one.
  "The {o} must be big," said {h}. "No, it must be small," said {f}.
  Both of them wanted to be the leader, and they got <cross>.
build_sorry =
  They looked at the mess and felt <sad>. "I am sorry, {f.call}," said {h}. "Let us do it your way and my way."
  {f} began to giggle, and then {h} had to laugh too. "Let us not fight about a {o}," said {f}.
  {h} thought <long>. "It is better to build with you than against you, {f.call}," {he} said.
build_again =
  "Let us try again," said {f} <kindly:f>. ^This time they worked <carefully>.
  They started again and made the <bottom> stronger.
  "We forgot {o.2}," said {h}. ^They began again <carefully>.
bottom = bottom|walls|sides|floor|middle|corners
build_need =
  They still needed {o.2}. {g} <went> away and came back with just the right thing.
  {f} tied everything with (string|rope|grass|ribbon|tape), and now it was strong.
  They put {o.2} on it <carefully>.
build_done =
  At last the {o} was done. It was <big_look> and {c}.
  After <work_time>, the {o} stood tall and strong.
  "We (did it|made it|built it|finished it), {f.call}!" {h} <cried> <cry_how>. ^The {o} looked <great>.
  "It is the best {o} in <home_area>," {f} said <gladly:f>.
great = great|wonderful|amazing|lovely|perfect|splendid|grand|fantastic|marvelous
build_use =
  They sat by the {o} and ate <food>.
  {g} came to look at the {o} and clapped <gladly:g>.
  They gave the {o} a name and <fun_pair> until <until>.
  All their friends came to see the {o}, and they <fun_pair> together.
  {h} put a <color> flag on the {o} and {h.joy}.
build.moral = built something new with {f} every <weekday>|played at the {o} with {f} every <day_part>|asked {f} to help {him}|was <so> <proud> of the {o}|worked with others and did not fight
build.lesson = many hands make work easy|two friends can build anything|it is good to try again|a good plan and a good friend are all you need|it is more fun to work together

# A map and what it leads to.
map.bind = {=p outdoors*}{=c color}{=o treasure}
treasure = a box of (cookies|chocolates|candies)|a bag of <color> marbles|an old (crown|telescope|clock|flute)|a <color> kite|a letter from {g}|two <color> hats|a picnic with <treat>|a jar of honey|a book of stories|a basket of <food>|a pile of shiny coins|a <color> tent|a chest of <color> stones|a box full of costumes|a drum and a horn|a little <color> boat|a swing for two|a nest with tiny birds
map.wish = find a treasure|be a pirate|follow a real treasure map|have an adventure with <friend>|find out what was {p.2}
map.start = found an old map {p.2}|got a {c} envelope with a map in it|saw a map in an old book|found a bottle with a map in it|was <so> <happy> to find a map {p.1}
map.body =
  <map_look> <map_friend>~<map_walk> <map_block> <map_cross>~<map_dig> <map_find> <map_end>
  <map_look> <map_friend>~<map_walk> <map_riddle> <map_solve>~<map_dig> <map_find> <map_end>
map_look =
  On the map there was a {c} cross next to <landmark>.
  The map showed <landmark>, <landmark>, and a {c} cross.
  "This is a (treasure|pirate|real|secret|very old) map!" {h} <cried> <cry_how>. ^There was a {c} cross on it.
map_friend =
  {h} showed the (map|old map|{c} cross on the map) to {f}. "Let us go <quickly_now>," said {f} <gladly:f>.
  {f} wanted to come along and brought a (shovel|lamp|rope|basket|spyglass|compass).
  "Will you come (with me|along|and help me|and find the treasure), {f.call}?" asked {h} <ask_how>. ^{f} {f.joy} and said yes.
quickly_now = right now|together|at once|before it gets dark|after <meal>|today
map_walk =
  First they went to <landmark>. Then they walked <number> steps to <landmark>.
  They walked past <landmark> and under <landmark>.
  They counted <number> steps from <landmark> and turned (left|right).
map_block =
  But in front of them was <obstacle>. "We can't go on," {f} said <sadly:f>.
  Then they came to <obstacle>, and {h} was <scared>.
  Suddenly there was <obstacle> in the way.
obstacle = a wide stream|a muddy swamp|a big <zoo_animal> made of stone|a high wall|a locked gate|a dark tunnel|a steep hill|a thorny hedge|a grumpy goose|a deep ditch|a buzzing beehive|a fallen tree|a shaky bridge
map_cross =
  "Hold on to me, {f.call}," said {h} <kindly>. ^Step by step, they <went> on.
  {h} thought <long>. Then {he} found a way around, {p.2}.
  "If we help each other, we can do it," said {h} <kindly>, and they did.
map_riddle =
  On <landmark> there was a note. "I have <riddle_a>, but I have no <riddle_b>," it said.
  There they (found|saw|read) a (riddle|funny riddle|strange riddle|hard riddle). "What has <riddle_a> but no <riddle_b>?" {f} read <carefully>.
riddle_a = hands|a face|teeth|legs|eyes|a neck|a mouth|ears
riddle_b = arms|nose|tongue|feet|head|shoes|hat|hair
map_solve =
  They thought (and thought|hard|for a while|for a long time). "It must be a (clock|comb|chair|potato|bottle|river|table|jar)!" {h} <cried> <cry_how>.
  {f} scratched {f.his} head, but {h} knew the answer <quickly>.
  They asked the <stranger>, who laughed and told them the answer.
map_dig =
  Next to <landmark> they saw a {c} cross on the ground. They dug <dig_how>.
  "(Here it is|I found it|I hit something|There is something|Look at this), {h.call}!" <cried> {f} <cry_how:f>. ^They dug <dig_how> until they hit something hard.
  At the end of the path they <looked> {p.2} and began to dig <dig_how>.
dig_how = side by side|as fast as they could|with a shovel|with a stick|with a spoon|very fast|together|for a long time|as deep as they could
map_find =
  And there it was, {o}!
  They found {o} in a (box|bag|trunk|barrel|hole|sack).
  The treasure was {o}. {h} {h.joy}.
  "It is {o}!" they <cried> <cry_how_pair>.
map_end =
  There was a note from {g}. "For two (brave|clever|true|good|dear) (friends|hearts|explorers)," it said.
  They shared the treasure and <fun_pair>.
  "The best part was the way here with you, {h.call}," said {f} <kindly:f>.
  They took it home and showed it to {g}, who was <so> <happy>.
map.moral = went on adventures with {f}|kept the map <keep_safe>|drew {his} own maps|looked for treasure every <weekday>|made a new map for {f}
map.lesson = a friend is the best treasure|you can find a way if you think <carefully>|it is fun to explore|brave friends go far|sharing a treasure makes it bigger

# One small hero, and someone in need.
brave.bind = {=c color}{=o danger}
danger = fell into the (water|stream|pond|bucket) / in the water / pulled {him} out with a (rope|branch|long stick|string)|was caught in a (net|bush|box|sack) / in there / opened it with {h.his} (teeth|strong arms|quick hands)|was stuck in a (hole|pipe|jar|hollow log) / in there / pushed and pulled until {he} was free|sat on a (high wall|thin branch|tall shelf|rooftop) and could not get down / up there / brought a ladder|was chased by a (goose|rooster|cat|big dog|swarm of bees) / here / made a loud noise and scared it away|was lost in the (fog|tall grass|dark hall|snow) / out here / lit a (lamp|candle|lantern) to show the way|got tangled in (some yarn|a vine|a kite string|thick ropes) / in this / untied the knots one by one|was blown away by the (wind|storm|breeze) / up here / held on tight and pulled {him} down|slid down a (bank|cliff|ditch|slippery slope) / down here / threw down a (vine|rope|ladder|sheet)
brave.wish = be big and strong|be a hero|be as brave as a <brave_animal>|show everyone how brave {he} was
brave.start = wanted to play with the others, but they laughed at {him}|was told that {he} was too small|wished to be as strong as a <brave_animal>|was sad because {he} was so small|wanted to be as brave as {f}
brave.body =
  <brave_small> <very_sad>~<brave_cry> <brave_think> <brave_do>~<brave_thanks> <brave_all>
  <brave_small> <brave_told>~<brave_cry> <brave_think> <brave_do>~<brave_thanks> <very_happy>
brave_small =
  "You are too small to (help|play|run with us|climb|be a hero)," said {f}.
  {f} was (big|strong|fast|loud), and {h} was only a small {h.noun}.
  "I am not (big|strong|tall|fast|brave) at all," {h} said <sadly>.
brave_told =
  "You do not have to be big to be brave," {g} said <kindly:g>.
  "Your time will come, {h.call}," said {g} <kindly:g>.
  "A brave heart fits in a small body," {g} said <kindly:g>.
brave_cry =
  Then {h} heard a cry {p.1}. {f} <help_danger:f>!
  Later that day, {f} <help_danger:f>. "Help me, I am stuck {o.1}!" {f.he} <cried> <cry_how:f>.
  Suddenly {h} saw that {f} <help_danger:f>. The others were too <scared> to help.
help_danger = {o}
brave_think =
  {h} was <scared> too, but {he} <went> to help <quickly>.
  "I am small, but I can (try|help|do something|be brave)," {h} thought <for_brave>. {he} took a deep breath.
  {his} legs were shaky, but {he} did not run away.
  "(Do not|Don't) be <scared>, {f.call}, I am (coming|here|on my way)!" <cried> {h} <cry_how>.
brave_do =
  {h} <save_danger:f>. It took <work_time>, but {f} was safe.
  {he} <save_danger:f>, and nobody got hurt.
  {h} thought <long>. Then {he} <save_danger:f>, and {f} was safe.
save_danger = {o.2}
brave_thanks =
  "You saved me, {h.call}," {f} said <gladly:f>. "I am <so> sorry that I (laughed at you|said you were small|was not nice|did not see how brave you are)."
  {f} hugged {h} <hug_how:f>. "You are the bravest {h.noun} in <home_area>," {f.he} said.
  <thank:f,h>
brave_all =
  Everyone cheered and gave {h} a {c} (medal|ribbon|hat|crown|flag).
  {g} was <so> <proud> of {h} and made {him} <treat>.
  They carried {h} all around and sang a song about {him}.
brave.moral = knew that {he} was brave|was never sad about being small|helped everyone in need|wore a {c} ribbon with pride|played with {f} every <day_part>
brave.lesson = even the small can be brave|you do not have to be big to help|a brave heart is what matters|being brave means to try when you are scared|everyone can be a hero
"#;
