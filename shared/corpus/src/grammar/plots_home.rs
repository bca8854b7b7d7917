//! Plots of things and of the home: what is lost, broken, shared, baked, tidied.

pub(super) const RULES: &str = r#"
# Something is lost, looked for, and found.
lost.bind = {=o lost_toy*}{=c color}
lost_toy.child =
  ball / play with / rolled away / rolled
  kite / fly / blew away / flown
  teddy bear / hug / fell out of the bag / dropped
  toy car / race / rolled away / rolled
  toy boat / sail / floated away / drifted
  drum / beat / was left behind / been left
  whistle / blow / slipped away / slipped
  marble / roll / rolled away / rolled
  hat / wear / blew away / blown
  scarf / wear / blew away / blown
  mitten / wear / slipped off / fallen
  ribbon / wear / blew away / blown
  necklace / wear / slipped off / slipped
  ring / wear / slipped off / slipped
  key / use / fell down / fallen
  coin / count / rolled away / rolled
  umbrella / carry / blew away / blown
  bracelet / wear / slipped off / slipped
  blanket / hold / was left behind / been left
  book / read / was left behind / been left
  bell / ring / rolled away / rolled
  cap / wear / blew away / blown
  backpack / carry / was left behind / been left
  puppet / play with / fell out of the bag / fallen
  toy plane / fly / flew away / flown
  mask / wear / slipped off / slipped
  paintbrush / paint with / fell down / fallen
  yo-yo / play with / rolled away / rolled
  jump rope / jump with / was left behind / been left
  feather / wave / blew away / blown
  slipper / wear / slipped off / slipped
  frisbee / throw / flew away / flown
  flute / play / was left behind / been left
  balloon / hold / blew away / drifted
  notebook / draw in / was left behind / been left
  lantern / carry / was left behind / been left
lost_toy.animal =
  acorn / roll / rolled away / rolled
  leaf / play with / blew away / blown
  pine cone / roll / rolled away / rolled
  ball / chase / rolled away / rolled
  feather / wave / blew away / blown
  pebble / hold / rolled away / rolled
  shell / hold / fell down / fallen
  walnut / roll / rolled away / rolled
  blanket / hold / was left behind / been left
  bell / ring / rolled away / rolled
  scarf / wear / blew away / blown
  hat / wear / blew away / blown
  flower crown / wear / slipped off / slipped
  wooden spoon / carry / fell down / fallen
  drum / beat / was left behind / been left
  stick / carry / floated away / drifted
  basket / carry / was left behind / been left
lost_toy.toy =
  button / wear / came off / rolled
  wheel / spin / rolled away / rolled
  ribbon / wear / slipped off / slipped
  hat / wear / fell down / fallen
  bell / ring / rolled away / rolled
  key / turn / fell down / fallen
  drum / beat / was left behind / been left
  flag / wave / blew away / blown
  shoe / wear / slipped off / slipped
  bow tie / wear / slipped off / slipped
lost.wish = {o.1} {his} {c} {o} all <day_part>|{o.1} {his} new {c} {o}|show {his} {c} {o} to <friend>|take {his} {c} {o} to {p}
lost.start =
  went to {p} with {his} {c} {o}
  was {p.1} and wanted to {o.1} {his} {c} {o}
  took {his} <favorite> {c} {o} to {p}
  went to {p} to {o.1} {his} <favorite> {o}
favorite = new|favorite|best|old|lovely|special
lost.body =
  <lost_how> <lost_gone>~<very_sad> <meet_friend> <lost_tell>~<lost_search> <lost_found> <very_happy> <thank:h,f>
  <lost_how> <lost_gone>~<lost_search_alone> <very_sad>~<meet_friend> <lost_tell> <offer> <lost_search> <lost_found>~<thank:h,f>
  <lost_how> <lost_gone> <very_sad>~<ask_g> <lost_advice>~<lost_search_g> <lost_found_h> <very_happy>~<thank_g>
lost_how =
  {h} {p.4} and forgot about the {o}.
  {h} put the {o} down and {p.4}. It {o.2}!
  {h} <saw> {p.3} and stopped to look. The {o} {o.2}.
  While {h.he} {p.4}, the {c} {o} {o.2}.
  But then {h} {p.4}, and the {o} {o.2}.
lost_gone =
  When {h.he} looked around, the {c} {o} was gone.
  {h} looked up and down, but the {o} was gone.
  "Oh no, where is my {c} {o}?" {h} <cried> <cry_how>.
  "My {o} is gone!" said {h} <sadly>.
  "I can't find my {c} {o}," {h} said <sadly>.
lost_tell =
  "I lost my {c} {o}," said {h} <sadly>.
  {h} told {f} about the {c} {o}.
  "My {o} {o.2}, and I can't find it," {h} said <sadly>.
  "I had my {o} {p.1}, and now it is gone," said {h}.
lost_search_alone =
  {h} <looked> {p.2}, but the {o} was not there.
  {h} <looked> {p.2} and {p.2}, but {h.he} did not find the {o}.
lost_search =
  They <looked> {p.2}. They <looked> {p.2}. The {c} {o} was not there.
  First they <looked> {p.2}, but all they found was <not_it>. Then they <looked> {p.2}.
  {f} <looked> {p.2}, and {h} <looked> {p.2}.
  They <looked> {p.2}, but they only found <not_it>.
lost_search_g =
  {h} and {g} <looked> {p.2}. They only found <not_it>.
  {h} went back and <looked> {p.2}. Then {h.he} <looked> {p.2}.
  So {h} took a deep breath and <looked> {p.2}. All {h.he} found was <not_it>.
not_it = an old (shoe|boot|can|bag|spoon|hat|glove|fork|newspaper|tire|candle|brush|pipe|wallet|belt|hook|zipper)|a <color> (sock|stone|leaf|feather|button|string|pin|ticket|postcard|thread|napkin|pebble|petal)|a sleepy <animal_friend>|some <food>|a pile of (leaves|dust|sticks|papers)|an empty (box|bottle|jar|cup|nest)
lost_found =
  Then {f} <looked> {p.2}. "I found it!" {f.he} <cried> <cry_how:f>. ^There was the {c} {o}!
  At last {f} pointed to something {c}. It was the {o}, {p.2}!
  "Look over there, {h.call}!" <cried> {f} <cry_how:f>. The {c} {o} was {p.2}.
  Suddenly {f} saw something {c} {p.2}. "Is this your {o}, {h.call}?" {f.he} asked <kindly:f>.
  In the end, it was {f} who found the {o}. It had {o.3} and was {p.2}.
lost_found_h =
  At last {h} <looked> {p.2}. There was the {c} {o}!
  Then {h} <saw> something {c} {p.2}. It was the {o}!
  And there, {p.2}, was the {c} {o}. It had {o.3} there.
lost_advice =
  "Think (hard|again|back|well|carefully)," said {g}. "Where did you last {o.1} it?"
  "(Do not|Don't) cry, {h.call}," {g} said <kindly:g>. "Let us look for the {o} <advice_how>."
  "Go back the way you came," said {g}. "Lost things like to hide {p.2}."
advice_how = together|one place at a time|slowly|in every corner|with our eyes wide open
lost.moral = took good care of {his} {o}|always kept {his} {o} <keep_safe>|never left {his} {o} behind again|put {his} {o} <keep_safe> every night|held {his} {c} {o} tight
keep_safe = in a safe place|close by|on a (shelf|hook)|next to {his} bed|in a special (box|bag|place)
lost.lesson = a friend can help you find what is lost|it is good to take care of your things|lost things can be found when you look <carefully>|you should never give up too soon|two pairs of eyes are better than one

# Something breaks, and is mended.
broken.bind = {=o fragile}{=c color}
broken.wish = help {g} (at home|in the house|with the {o})|look at the {c} {o}|touch the {c} {o} {o.3}|play (inside|indoors) with <friend>|show <friend> the {c} {o}
broken.start =
  was playing near the {c} {o} {o.3}
  ran around the (room|house|table) with {f}
  wanted to look at the {c} {o} {o.3}
  was (dancing|jumping|running|spinning) next to the {c} {o}
  touched the {c} {o} {o.3}
broken.body =
  <broken_care> <broken_how>~<broken_feel> <broken_choice> <broken_say_g>~<broken_fix_g> <broken_done> <thank_g>
  <broken_how> <broken_care>~<broken_feel> <meet_friend> <broken_tell>~<offer> <broken_fix_f> <broken_done> <very_happy>
  <broken_care> <broken_how> <very_sad>~<broken_choice> <broken_say_g> <broken_fix_g>~<broken_done> <thank_g> <very_happy>
broken_care =
  The {c} {o} {o.3} belonged to {g}.
  {g} loved that {c} {o} {o.3} very much.
  The {o} was <so> old, and {g} had (made|bought|painted|found) it long ago.
  It was the <favorite> {o} in the whole (house|town|street).
broken_how =
  {h} <bumped> it by mistake. (Crash|Bang|Crack|Snap|Bump|Boom), the {c} {o} {o.1}!
  Then {h} slipped, and the {c} {o} {o.1}.
  {h} was not careful enough, and the {o} {o.1}.
  {h} (turned around|spun around|ran past|jumped up|danced by) too (fast|wildly|close). The {o} {o.1} with a loud (crash|bang|crack|thump|clang).
  All at once there was a loud (crash|bang|crack|thump|clang). The {c} {o} {o.1}.
bumped = bumped|pushed|hit|kicked|pulled|knocked|touched
broken_feel =
  {h} looked at the broken {o} and felt <so> <sad>.
  "Oh no, the {o} is broken!" <cried> {h} <cry_how>. ^{he} felt <so> <sad>.
  {h} did not know what to do. {he} was <scared> that {g} would be <cross>.
  "What have I done to the {o}?" {h} said <sadly>.
broken_choice =
  {h} wanted to hide <hide_where>, but {he} knew that was wrong.
  First {he} hid <hide_where>. But {he} did not feel good about it.
  {he} thought about (telling a lie|running away|saying nothing), but {he} wanted to be honest.
  {h} took a deep breath and <went> to {g}.
hide_where = under the (bed|table|rug|stairs)|behind the (door|curtain|chair|fence)|in the (closet|shed|barn|attic)
broken_say_g =
  "I broke the {o}, {g.call}," {h} said <sadly>. "I am <so> sorry."
  "Please do not be <cross>, {g.call}," said {h}. "The {c} {o} {o.1} because of me."
  {h} told {g} the truth about the {c} {o} and said {he} was sorry.
  "It was me, {g.call}," {h} said <sadly>. "The {o} is broken."
broken_tell =
  "I broke the {c} {o}," said {h} <sadly>.
  {h} showed {f} the broken {o}. "It {o.1}," {he} said <sadly>.
  "The {o} is broken, and I do not know how to fix it," {h} said <sadly>.
broken_fix_g =
  {g} was not <cross>. "Thank you for telling the truth," {g.he} said <kindly:g>. "We can fix the {o} with {o.2}."
  "We all make mistakes, {h.call}," said {g} <kindly:g>. {g.he} got {o.2}, and they worked on the {o} <carefully>.
  {g} looked at the {o} and (nodded|smiled|thought). "Bring me {o.2}," {g.he} said. "We will (mend it together|fix it together|make it whole again)."
  "I am glad you told me," {g} said <kindly:g>. {g.he} showed {h} how to mend the {o} with {o.2}.
broken_fix_f =
  {f} had {o.2}. They worked on the {c} {o} <carefully>.
  They found {o.2} in the (shed|drawer|barn|cupboard|attic|toolbox). {h} held the {o}, and {f} fixed it <carefully:f>.
  "We need {o.2}," said {f}. ^They <went> to the <stranger> and asked for some help.
broken_done =
  Soon the {c} {o} was as good as new.
  It took <work_time>, but then the {o} was whole again.
  When they were done, the {c} {o} looked even <better> than before.
  There was still a small crack in the {o}, but nobody minded.
  At last the {o} was fixed, and they put it back <broken_place>.
work_time = a long time|all <day_part>|an hour|two hours|the whole <day_part>|until dinner|a little while
better = better|prettier|nicer|stronger|brighter
broken.moral = was more careful with {his} things|always told the truth|walked slowly around the {o}|helped {g} to fix <fixables>|was careful near the {o}
fixables = chairs and toys|old things|broken toys|clocks and lamps|what was broken|cups and plates
broken.lesson = it is best to tell the truth|broken things can be fixed|everyone makes mistakes|it is brave to say sorry|it is good to be careful|being honest feels better than hiding

broken_place = in its (place|old place|corner)|where it (belonged|had been)|with (great care|a smile|a happy song)

# A mistake, a hiding place, an apology.
mistake.bind = {=o mess}{=c color}
mess =
  milk / spilled the milk on the <furniture> / wipe up the milk / a cloth
  paint / spilled <color> paint on the <furniture> / wash off the paint / soap
  cake / ate <friend>'s whole cake / bake a new cake / flour and eggs
  flowers / stepped on <friend>'s flowers / plant new flowers / some seeds
  picture / tore <friend>'s picture / draw a new picture / paper and crayons
  jam / got sticky jam on the <furniture> / clean up the jam / a sponge
  book / dropped {f}'s book in a puddle / dry the book / a towel
  water / knocked over a bucket of water / mop up the water / a mop
  mud / walked on the clean floor with muddy feet / wash the floor / a brush
  ink / dropped ink on the <furniture> / scrub off the ink / warm water
  tower / knocked down <friend>'s block tower / build the tower again / more blocks
  flour / dropped a bag of flour on the floor / sweep up the flour / a broom
  eggs / dropped a basket of eggs / clean up the eggs / a rag
  sand castle / fell on <friend>'s sand castle / build a new castle / a bucket
  kite / tore <friend>'s paper kite / mend the kite / tape and string
  berries / ate all <friend>'s berries / pick more berries / a basket
  feathers / made a hole in a pillow / sew the pillow / a needle and thread
  basket / sat on <friend>'s straw hat / mend the hat / some straw
furniture = carpet|sofa|floor|table|rug|chair|bed|blanket|pillow|cushion
mistake.wish = make something nice for <friend>|help {g} with the (work|house|cleaning)|play with <friend> all <day_part>|do everything {himself}
mistake.start = {o.1}|was in a hurry and {o.1}|was playing too wildly and {o.1}|did not look and {o.1}|was <so> <tired> and {o.1}
mistake.body =
  <mistake_feel> <mistake_hide>~<mistake_found_f> <mistake_guilt>~<mistake_sorry> <mistake_forgive> <mistake_fix> <mistake_after>
  <mistake_feel> <mistake_hide> <mistake_guilt>~<ask_g> <mistake_advice>~<mistake_sorry> <mistake_forgive> <mistake_fix> <mistake_after>
mistake_feel =
  "Oh no, what (a mess|a big mess|a terrible mess|have I done)!" {h} <cried> <cry_how>. ^{he} did not mean to do it.
  {he} did not mean to do it, but now {he} felt <so> <sad>.
  It was a mistake, and {h} felt <so> <sad>.
  {h} <looked> left and right. Nobody had seen {him}, but {he} felt <sad>.
mistake_hide =
  {h} was <scared> and hid <hide_where>.
  {he} ran off and hid <hide_where>, because {he} was <scared>.
  "(It was not me|I do not know anything|I was not here|Maybe it was the cat|I saw nothing)," {h} said when {f} asked about it.
  {h} did not tell anyone and hid <hide_where>.
mistake_found_f =
  When {f} came and saw what had happened, {f.he} was <so> <sad>.
  Then {f} came <near_by>. "Who did this?" {f.he} asked <sadly:f>.
  Soon {f} came along and saw it all. {f.his} eyes filled with tears.
mistake_guilt =
  {h} had a funny feeling in {his} tummy, <simile_bad>.
  {h} could not (eat|play|sleep|smile|sing), because {his} heart felt <simile_bad>.
  {his} heart beat (fast|hard|loudly), and {he} could not think of anything else.
  {h} wanted to <hobby*>, but it was no fun at all.
mistake_advice =
  "When you have done something wrong, you should say sorry," said {g} <kindly:g>.
  "Tell {f} the truth," said {g} <kindly:g>. "Then you will feel <better_feel>."
  "Everyone makes mistakes," {g} said <kindly:g>. "You can still {o.2}."
better_feel = better|lighter|much better|good again|brave and strong
mistake_sorry =
  So {h} <went> to {f} and said <sadly>, "It was me. I am <so> sorry, {f.call}."
  "I did it, {f.call}," said {h} <sadly>. "I am <so> sorry, and I want to {o.2}."
  (At last|In the end|Then|After <meal>|Before <meal>) {h} told {f} the truth. "I am sorry," {he} said <sadly>. "Will you (forgive me|still be my friend|give me another chance|let me make it right), {f.call}?"
mistake_forgive =
  {f} thought <for_time>. "I forgive you, {h.call}," {f.he} said <kindly:f>.
  "It is all right, {h.call}," said {f} <kindly:f>. "I am <so> (glad|happy) that you (told me the truth|came to me|were honest|told me)."
  {f} was quiet <short_time>. Then {f.he} smiled and gave {h} a <hug_kind> hug.
  "Thank you for being honest, {h.call}," {f} said <kindly:f>.
short_time = for a moment|for a minute|at first|for a while|for a long time
hug_kind = big|warm|long|soft|gentle|tight
mistake_fix =
  Then they got {o.3} to {o.2} together.
  {h} went to get {o.3}. Together they began to {o.2}.
  "We need {o.3}," said {f}. ^{h} <went> to get everything, and they worked <carefully>.
mistake_after =
  When everything was fine again, they <fun_pair> together.
  It took <work_time>, but {h} felt <better_feel>.
  After that, they <fun_pair> and <fun_pair>.
  <very_happy>
mistake.moral = always told the truth|said sorry when {he} was wrong|was more careful|tried not to hide {his} mistakes|was a <kind> and honest friend|looked where {he} was going
mistake.lesson = saying sorry can mend a friendship|it is better to tell the truth than to hide|good friends forgive each other|a mistake is not so bad when you fix it|it takes a brave heart to say sorry

# One does not want to share, then does.
share.bind = {=o shared*}{=c color}
shared.child =
  some <food> / eat / them all / them / were
  a bag of <food> / eat / all of it / it / was
  a box of crayons / draw with / the whole box / it / was
  a <color> swing / ride on / the swing / it / was
  a big <color> ball / play with / the ball / it / was
  a <color> sled / ride on / the sled / it / was
  a box of blocks / build with / all the blocks / them / were
  a <color> toy truck / play with / the truck / it / was
  a bowl of <treat> / eat / the whole bowl / it / was
  a <color> tricycle / ride on / the tricycle / it / was
  a set of paints / paint with / all the paints / them / were
  a plate of <food> / eat / the whole plate / it / was
  a big picture book / read / the book / it / was
  a <color> toy train / play with / the train / it / was
shared.animal =
  some <animal_food> / eat / them all / them / were
  a pile of <animal_food> / eat / the whole pile / it / was
  a basket of <animal_food> / eat / the whole basket / it / was
  a <color> ball / play with / the ball / it / was
  a warm bed of leaves / sleep in / the bed / it / was
  a sunny rock / rest on / the rock / it / was
  a bush full of berries / eat from / the bush / it / was
  a cool puddle / splash in / the puddle / it / was
  a <color> blanket / lie on / the blanket / it / was
shared.toy =
  a <color> blanket / lie on / the blanket / it / was
  a new drum / play / the drum / it / was
  a box of buttons / play with / all the buttons / them / were
  a little <color> wagon / ride in / the wagon / it / was
  a plate of tiny cakes / eat / the whole plate / it / was
  a soft pillow / sleep on / the pillow / it / was
  a <color> ball / play with / the ball / it / was
share.wish = keep everything for {himself}|{o.1} {o.3} alone|have something nice of {his} own|be left alone for a while
share.start = had {o} and did not want to share|found {o} and wanted to keep {o.3}|got {o} from {g}|was <so> <happy> because {he} had {o}|came to {p} with {o}
share.body =
  <share_ask> <share_no>~<share_lonely> <share_think>~<share_yes> <share_fun> <very_happy:f>
  <share_ask> <share_no> <share_lonely>~<ask_g> <share_advice>~<share_yes> <share_fun> <thank:f,h>
  <share_ask> <share_no> <very_sad:f>~<share_turn> <share_think>~<share_yes> <share_fun>
share_ask =
  {f} came by and asked, "(May|Can|Could) I {o.1} {o.3} (too|with you), {h.call}?"
  {h.his} friend {f} wanted to {o.1} {o.3} too. "(Please|Just a little|Only once|For a moment), {h.call}?" {f} asked <kindly:f>.
  Then {f} <went> over. "That looks (nice|fun|great|lovely)," {f.he} said <kindly:f>. "Will you (share with me|let me have some|let me try|give me a turn), {h.call}?"
share_no =
  "No, {f.call}, I want {o.2}," said {h}. ^{he} felt <cross> and turned away.
  But {h} held on to {o.3} and shook {his} head. "I got here first, {f.call}," {he} said.
  {h} was <cross>. "It is not for you, {f.call}," {he} said and <went> away.
  But {h} did not want to share (with {f}|anything|at all|even a little). "Go away, {f.call}," {he} said.
share_lonely =
  {f} went home <sadly:f>. Now {h} was alone <where_alone>, and it was not much fun.
  {h} tried to {o.1} {o.3} alone. After a while {he} felt <sad> and bored.
  {f} walked away, and {h} sat <where_sit> all by {himself}.
  So {h} was alone. The <day_part> felt <so> long without {f}.
where_alone = {p.1}|<where_sit>|in the (sun|shade|quiet room|tall grass)
share_turn =
  Then {h} slipped and hurt {his} (knee|foot|leg|elbow|nose). It was {f} who came to help.
  Later {f} found some <food>. {f.he} gave half of them to {h} without a word.
  A little later, {h} was <tired> and thirsty. {f} came back with some water and gave it to {him}.
share_think =
  "I have so much, and {f} has nothing," {he} thought <for_h>.
  {h} thought about {f} and felt <sad>. "I was not <kind>," {he} thought <for_h>.
  Then {h} remembered how {f} had once <shared_once> with {him}.
  "It would be more fun with {f}," {h} thought <for_h>.
long = for a moment|for a while|for a long time|about it|hard about it|for a minute
for_h = with a sigh|at last|after a while|and stood up|for the first time|all of a sudden|and looked up|and swallowed|a little later|and bit {his} lip|when it was quiet|and rubbed {his} eyes
shared_once = shared <treat>|shared some <food>|played tag|sung songs|waited in the rain|built a tower
share_advice =
  "When you share, you have less in your hands but more in your heart," {g} said <kindly:g>.
  "How would you feel if {f} did not share with you?" {g} asked <kindly:g>.
  "Things are more fun with a friend," said {g} <kindly:g>. "Try it with {f}, and you will see."
share_yes =
  {h} <went> to {f} and said, "I am sorry, {f.call}. Let us {o.1} {o.3} together."
  "Come back, {f.call}," {h} <cried> <cry_how>. "You can {o.1} {o.3} with me."
  So {h} found {f} <by_what>. "Half of {o.3} can be yours, {f.call}," {he} said <gladly>.
share_fun =
  They took turns and <fun_pair>.
  There was enough for both of them, and they <fun_pair> and <fun_pair>.
  It was (much|so much|a lot) (more fun|nicer|better) (with two|together|with a friend). They <fun_pair> until <until>.
  {f} smiled and showed {h} a new (game|song|trick|way to play|joke).
until = the sun went down|it was dark|dinner time|it was time to go home|the stars came out|they were <tired>
share.moral = always shared with {f}|shared {his} things with everyone|liked to share <treat> with {his} friends|asked {f} to play every <weekday>|gave half of {his} <food> to {f}
share.lesson = sharing makes everything more fun|a friend is worth more than any toy|sharing is a way to be <kind>|there is enough when you share|it feels good to give

# Something is baked, and something is missing or wrong.
bake.bind = {=o dish}{=i missing}
dish = cake / a|pie / a|loaf of bread / a|tray of muffins / a|pizza / a|pot of soup / a|plate of cookies / a|pile of pancakes / a|fruit tart / a|bowl of pudding / a|batch of biscuits / a|pan of gingerbread / a|stack of waffles / a|dish of noodles / a|berry pie / a|carrot cake / a|pot of stew / a|casserole / a|dish of lasagna / a|pan of brownies / a|pot of chili / a|bowl of salad / a|plate of scones / a|batch of pretzels / a|apple crumble / a|bowl of curry / a|plate of dumplings / a|cheesecake / a|sponge cake / a|tray of tarts / a|layer cake / a
missing = sugar|flour|butter|milk|salt|honey|cream|cheese|cinnamon|yeast|vanilla|lemon juice|jam|oil|maple syrup|cornmeal|ginger|vinegar
bake.wish = bake a {o} for {g}|bake a {o} with <friend>|make something yummy for <meal_for>|cook like a real (chef|baker|cook)|surprise {g} with a {o}
meal_for = lunch|dinner|supper|breakfast|the picnic|the fair|the party
bake.start = wanted to bake a {o} for <eaters>|decided to make a {o} with <friend>|put on an apron to make a {o}|asked <friend> to help {him} make a {o}|had an idea for a {o}
eaters = {g}|{f}|the party|a sick neighbor|<meal_for>|the whole family|the <stranger>
bake.body =
  <bake_begin> <bake_miss>~<bake_ask> <bake_get>~<bake_oven> <bake_eat> <very_happy>
  <bake_begin> <bake_wrong> <very_sad>~<ask_g> <bake_advice>~<bake_again> <bake_oven> <bake_eat> <thank_g>
  <bake_begin> <bake_wrong>~<meet_friend> <bake_joke>~<bake_again> <bake_oven> <bake_eat>
bake_begin =
  {h} <bake_verb> the <bake_a> and <bake_verb> the <bake_a> in a <color> bowl.
  First {he} took a <color> bowl. Then {he} <bake_verb> the <bake_a>.
  There was <bake_a> on the table and <bake_a> on {his} nose.
  {h} washed {his} hands and got the <bake_a> and the <bake_a>.
bake_verb = stirred|mixed|poured in|added|measured|beat
bake_a = dough|batter|flour|water|eggs|milk|sauce|cream|butter|syrup|cocoa|pepper|pastry|spice|starch|frosting|margarine|broth|icing
bake_miss =
  But there was no {i} left in the <bake_where>.
  "Oh no, we have no {i}," said {h} <sadly>.
  Then {he} looked in the <bake_where>. The {i} was all gone!
  But {h} needed {i}, and the <bake_where> was empty.
bake_where = cupboard|jar|box|pantry|kitchen|basket|bag
bake_ask =
  {h} <went> to {f}. "(May|Can|Could) I have some {i}, {f.call}?" {he} asked <ask_how>.
  {he} asked the <stranger> for some {i}, but there was none. Then {he} asked {f} <kindly:f>.
  "Let us ask {f}," said {g} <kindly:g>. "Maybe {f.he} has some {i}."
bake_get =
  "Of course, {h.call}," said {f} <kindly:f>. "Take some {i}, and I will help you stir."
  {f} had a big jar of {i} and came along to help.
  {f} gave {h} some {i}. "But I want to taste the {o} when it is done," {f.he} said <gladly:f>.
bake_wrong =
  But {h} was in a hurry and put in {i} ten times. The {o} tasted <bad_taste>.
  {h} forgot the {i}, and the {o} tasted <bad_taste>.
  Then {he} <hobby_break>, and the {o} got burned. It was as black as (coal|night|ink|a crow).
  {h} mixed up the {i} and the soap. Soon there were bubbles (everywhere|on the floor|in the bowl|on {his} nose).
hobby_break = went outside to play|looked at a book|talked to {f}|watched a <animal_friend>|fell asleep in the chair|forgot about the time
bad_taste = awful|bitter|like soap|like old shoes|very strange|like mud|terrible|sour|like wet paper
bake_joke =
  {f} tasted it and made a funny face. Then they both began to laugh <pair_manner>.
  "We can try again," {f} said <gladly:f>. "This time I will read, and you will stir."
  {f} sniffed at the {o} and giggled. "(Do not|Don't) worry, {h.call}," {f.he} said <kindly:f>. "Let us make a new one."
bake_advice =
  "Nobody bakes well the first time," said {g} <kindly:g>. "Let us try again <carefully>."
  {g} smiled. "My first {o} tasted <bad_taste> too," {g.he} said <kindly:g>.
  "Good cooks go slowly," said {g} <kindly:g>. "First the <bake_a>, then the {i}."
bake_again =
  They washed the (bowl|spoon|table|pan|cups) and began again. This time {h} <bake_verb> everything <carefully>.
  So they (started over|began again|tried again) <carefully>. {h} <bake_verb> the <bake_a>, and the (kitchen|room|table) was full of flour.
  {h} tried once more and counted each spoon of {i} out loud.
bake_oven =
  They put it on the (stove|fire|hot oven shelf) and waited. Soon it smelled <so> good.
  The {o} got (golden|hot|brown|big|warm), and the whole (house|kitchen|street|room) smelled (sweet|yummy|warm|lovely|delicious|like a bakery|like a feast).
  They waited for <wait_time>, and {h} looked at the {o} again and again.
wait_time = an hour|half an hour|twenty minutes|what felt like forever|ten long minutes
bake_eat =
  Everyone had a (taste|bite|slice|big bite|little taste) of the {o}. "This is the <taste_best> {o} in the world, {h.call}," said {g}.
  They ate the {o} <eat_where>, and it was <taste> and <taste>.
  {g} took a big bite and smiled. "It is <taste>, {h.call}," {g.he} said.
  They shared the {o} with {f} and the <stranger>, and there was not a crumb left.
taste_best = best|tastiest|sweetest|finest|most delicious|yummiest
eat_where = in the (garden|kitchen|sun|shade)|by the window|around the table|on a <color> blanket|under a tree|with big spoons
bake.moral = baked with {f} every <weekday>|always checked the {i} first|was known as the best baker in the <place_of>|liked to cook for {his} friends|never forgot the {i} again
place_of = village|forest|street|town|valley|family
bake.lesson = it is good to try again|cooking is more fun with a friend|you should not be in a hurry|food tastes best when you share it|friends help when something is missing

# Bedtime, and no sleep.
sleep.bind = {=c color}{=o noise}
noise =
  tap, tap, tap / a branch at the window / the window
  hoo, hoo / an owl in the tree / the tree outside
  drip, drip, drip / water in the sink / the sink
  squeak, squeak / a loose door / the door
  tick, tock / the old clock / the wall
  scratch, scratch / a mouse in the wall / the wall
  whoosh, whoosh / the wind in the chimney / the chimney
  purr, purr / a cat on the roof / the roof
  creak, creak / the old stairs / the stairs
  rustle, rustle / dry leaves on the roof / the roof
  bump, bump / a loose gate / the yard
  chirp, chirp / a cricket near the bed / the floor
  plop, plop / rain in a bucket / the corner
  snore, snore / the <stranger> next door / the house next door
  rattle, rattle / a train far away / the hill
sleep.wish = stay up all night|fall asleep (quickly|easily|at once)|see the moon and the stars|have a good night|sleep in {his} <color> blanket
sleep.start = could not fall asleep|was in bed but was not <tired> at all|lay under a {c} blanket and looked at the dark|heard a strange sound at bedtime|said good night to {g} and went to bed
sleep.body =
  <sleep_sound> <sleep_scared>~<sleep_call> <sleep_look>~<sleep_song> <sleep_end>
  <sleep_try> <sleep_try> <sleep_sound>~<sleep_call> <sleep_advice>~<sleep_song> <sleep_end>
  <sleep_try> <sleep_friend>~<sleep_sound> <sleep_scared>~<sleep_look> <sleep_song> <sleep_end>
sleep_sound =
  Then there was a sound from {o.2}, and it went {o}.
  It was dark, and something went {o}. "What is that (sound|noise|thing)?" {h} whispered <sadly>.
  Something near {o.2} went {o}. {h} pulled the {c} blanket over {his} head.
  "{o}," went something near {o.2}.
sleep_scared =
  {h} was <scared> and hugged {his} (pillow|blanket|knees) tight.
  "Is it a (monster|ghost|witch|wolf|giant|dragon)?" {h} thought <for_h>. {he} felt <so> <scared>.
  {his} heart went (fast|boom, boom|thump, thump), and {he} felt <scared>.
sleep_try =
  {h} tried to count (sheep|stars|ducks|frogs|boats|trains|clouds), but it did not help.
  {h} turned to the left and to the right, but {he} was still awake.
  {he} drank some (water|warm milk|tea), but {he} was still not <tired>.
  {h} <hobby_bed>, but sleep did not come.
hobby_bed = hummed a song|closed {his} eyes|looked at the moon|thought of <dream>|fluffed the pillow|read a book about a <zoo_animal>
sleep_friend =
  {f} was there too. "I can't sleep, {f.call}," {h} whispered.
  {f} was in the next bed and sat up. "Are you awake, {h.call}?" {f.he} whispered.
sleep_call =
  "I can't sleep, {g.call}," {h} called <sadly>. ^{g} came into the room <quickly:g>.
  {h} <went> to {g} and said, "I am <scared>, {g.call}."
  {g} saw that {h} was awake and sat down on the bed. "What is (it|wrong|keeping you awake|going on), {h.call}?" {g.he} asked <kindly:g>.
sleep_look =
  They took a (lamp|candle|light|lantern) and <looked> around. It was only {o.1}!
  "Let us see what it is," {g} said <kindly:g>. ^They <looked> <carefully>. It was just {o.1}.
  {g} opened the (curtain|door|window) and pointed. "It is only {o.1}, {h.call}," {g.he} said <kindly:g>.
sleep_advice =
  "It is only {o.1}, {h.call}," said {g} <kindly:g>. "Listen, it is (almost|a bit|really) like a (song|drum|lullaby|game)."
  "When I was small, I heard {o.1} too," {g} said <kindly:g>. "I made a game of it."
sleep_song =
  {g} sang a (soft|slow|sweet|quiet) song about <dream>.
  {g} told {h} a (short|funny|quiet|lovely) story about <dream>.
  "Close your eyes and think of <dream>," {g} said <kindly:g>.
  {g} put a {c} (lamp|candle|night light) next to the bed and gave {h} a kiss.
sleep_end =
  {h} yawned and felt warm and <tired>. Soon {he} slept <simile_sleep>.
  {his} eyes got heavy, and {he} slept <simile_sleep>.
  {h} smiled and hugged {his} {c} (pillow|blanket|teddy bear). (In no time|Soon|A minute later|Before long) {he} was asleep.
sleep.moral = was not afraid of {o.1}|fell asleep (quickly|easily|at once|right away|without fear) every night|liked the sound of {o.1}|thought of <dream> at bedtime|said good night to the (moon|stars|dark|night) every evening
sleep.lesson = night sounds are only little things|the dark is not so bad with someone you love|it helps to look at what scares you|a good story brings good dreams|there is nothing to fear in the night

# A mess, and what it leads to.
tidy.bind = {=o mess_thing}{=c color}
mess_thing = blocks|crayons|books|socks|shoes|puzzles|marbles|toy cars|papers|buttons|dolls|balls|clothes|cards|costumes|pillows|boxes|train tracks|paper planes|tools|ribbons|puppets|magazines|feathers|pebbles|stickers|pencils|dominoes|checkers|jackets|shells|cushions|robots|wagons|instruments|gloves|sweaters
tidy.wish = play all day and never clean up|leave the {o} on the floor|build a city with the {o}|have more room to play
tidy.start = left all the {o} on the floor|made a big mess with the {o}|did not want to clean up the {o}|threw the {o} all over the room|played with the {o} until they were everywhere
tidy.body =
  <tidy_say> <tidy_no>~<tidy_slip> <tidy_feel>~<tidy_help> <tidy_game> <tidy_done>
  <tidy_say> <tidy_no>~<tidy_search> <tidy_feel>~<meet_friend> <tidy_help> <tidy_game> <tidy_done> <thank:h,f>
tidy_say =
  "Please put the {o} away, {h.call}," said {g} <kindly:g>.
  "There are {o} everywhere," {g} said. "Can you clean up before <meal>, {h.call}?"
  {g} looked at the {o} and shook {g.his} head. "What a (big|terrible|great|silly|) mess, {h.call}," {g.he} said <kindly:g>.
tidy_no =
  But {h} was <cross> and <tidy_did>.
  "I will do it later, {g.call}," said {h} and <tidy_did>.
  "I am too <tired>, {g.call}," said {h}. ^{he} <tidy_did>.
tidy_did = went on playing|hid the {o} under the bed|looked out of the window|kicked the {o} into a corner|lay down on the rug
tidy_slip =
  Later {h} stepped on one of the {o} and fell down. It hurt <so> much.
  Then {f} came to play. {f.he} slipped on the {o} and bumped {f.his} (knee|head|elbow|nose).
  When {g} came in with some <treat>, {g.he} tripped over the {o}. The <treat_fell> went all over the floor!
treat_fell = bowl|plate|tray|cup|jug|food
tidy_search =
  Then {h} wanted {his} {c} <tidy_lost>, but {he} could not find it under all the {o}.
  Later {h} looked for {his} {c} <tidy_lost>. {he} <looked> <hide_where>, but there were only {o}.
tidy_lost = hat|ball|blanket|bag|book|ring|kite|cup|scarf|drum|boat|bear
tidy_feel =
  "This is because of my mess," {h} said <sadly>.
  {h} felt <so> <sad>. "I should have put the {o} away," {he} thought <for_h>.
  {h} looked at the {o} on the floor and felt <sad>.
tidy_help =
  "Let us clean up together," said {f} <kindly:f>. "You take the big {o}, and I take the small ones."
  {f} and {g} came to help. They put the {o} into <tidy_box>.
  {h} got (a big box|a <color> basket|two boxes|a <color> bag|an old trunk|a wooden crate|three bags) and began to pick up the {o} <quickly>.
tidy_box = a big box|a <color> basket|two boxes|an old trunk|a <color> bag|the cupboard|three drawers|a wooden crate
tidy_game =
  They made a (game|race|song|contest) of it and counted the {o} out loud.
  They sang a song about the {o} while they worked.
  "I bet I can pick up more {o} than you," {f} said <gladly:f>. ^They worked as fast as they could <until_clean>.
  {h} threw the {o} into <tidy_box>, one by one, and it was almost fun.
until_clean = , side by side|, and {f} won|, and {h} won|, and soon they had <number> {o}|until the floor was clean|and sang a song|and laughed <pair_manner>|for <wait_time>
tidy_done =
  Soon the room was clean, and there was space to <hobby*>.
  At last all the {o} were in their place. {g} was <so> <proud>.
  And under the last of the {o}, {h} found {his} {c} <tidy_lost>!
  When the {o} were put away, the room looked big and (bright|clean|lovely|fresh|nice|new).
tidy.moral = put the {o} away every (night|evening|day)|kept {his} room clean|never left the {o} on the floor|cleaned up with {f} every <weekday>
tidy.lesson = a clean room is nice to play in|cleaning up can be fun|it is good to put things in their place|work is quick when friends help|you should listen to {g}
"#;
